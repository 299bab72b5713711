CREATE TABLE package (
    id             INTEGER PRIMARY KEY,
    name           TEXT NOT NULL UNIQUE,
    version        TEXT NOT NULL,
    architecture   TEXT NOT NULL,
    section        TEXT NOT NULL,
    priority       TEXT NOT NULL,
    size           INTEGER NOT NULL,
    installed_size INTEGER,
    maintainer     TEXT NOT NULL,
    homepage       TEXT,
    depends        TEXT NOT NULL,
    description    TEXT NOT NULL
) STRICT;

-- Words only: the text stays in `package`.
CREATE VIRTUAL TABLE search USING fts5 (
    name,
    description,
    content = 'package',
    content_rowid = 'id',
    tokenize = 'porter unicode61'
);

CREATE TRIGGER package_inserted AFTER INSERT ON package BEGIN
    INSERT INTO search (rowid, name, description) VALUES (new.id, new.name, new.description);
END;

CREATE TRIGGER package_updated AFTER UPDATE ON package BEGIN
    INSERT INTO search (search, rowid, name, description)
    VALUES ('delete', old.id, old.name, old.description);
    INSERT INTO search (rowid, name, description) VALUES (new.id, new.name, new.description);
END;
