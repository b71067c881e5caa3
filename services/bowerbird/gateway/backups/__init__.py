"""Backups: the rows and pictures of a gateway, copied to a folder or a bucket, and put back into an empty database.

    bowerbird backup write            what the chart's CronJob runs
    bowerbird backup list
    bowerbird backup restore latest   what the gateway's init container runs where `backup.restore` is set

One copy for both databases, made of rows and not of a server's files: it needs no program beside the gateway's own
image, goes from SQLite to PostgreSQL as well, and from a release to every later one, since rows are put into the tables
of the revision that they were read at, which are migrated then. Every table that there is is read, whoever it belongs
to, in one transaction that sees one moment; whatever comes back is checked against its digest. What a point-in-time
recovery of PostgreSQL does better (a bound of seconds on what is lost) stays the server's own.

    backups/<moment>/<table>-00000.jsonl.gz      its rows, a list each
    backups/<moment>/manifest.json               written last: without it there is no backup
    pictures/<key>                               shared by all backups: a picture never changes

Not in it: what Secrets hold (keys of administrators, the keys that seal webhooks' secrets) and the development
certificate. Whoever was erased after the moment of a backup is in it, and has to be erased again.
"""
