"""Moving pictures: announced in the API, not drawn yet."""
