"""Pictures of species, as the bird application asks for them: names and circumstances in, a request for a picture out.

    words.py       poses, seasons and behaviours that may be asked for, and which belong together
    template.py    the prompt that they become, by a file that people edit (`image_prompt.jinja`)
    families.py    the family of a species and its LoRA, by a table (`families.toml`)
    resolution.py  a class of resolution as one of the served model's sizes
    images.py      the request for a picture that all this becomes; the usual story draws it
    opening.py     both files, read and tried at start

Nothing here asks a model or stores anything. What was chosen for the caller (template, family, LoRA) stands in the
answer and in the picture's label, by version and digest of the file that chose it.
"""
