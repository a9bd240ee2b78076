-- A telemetry.db as its m0001 left it. Never edited.
BEGIN TRANSACTION;
CREATE TABLE "_sqlite_migrations" (
   "id" INTEGER PRIMARY KEY,
   "migration_set" TEXT,
   "name" TEXT,
   "applied_at" TEXT
);
INSERT INTO "_sqlite_migrations" VALUES(1,'helm-telemetry','m0001_handshakes','2026-01-02 03:04:05.000000+00:00');
CREATE TABLE events (
            sequence INTEGER PRIMARY KEY,
            at BIGINT NOT NULL,
            kind TEXT NOT NULL,
            node_id TEXT,
            device_id TEXT,
            detail TEXT NOT NULL
        );
INSERT INTO "events" VALUES(1,1767323045000000,'handshake','019b7c12-0000-7000-8000-000000000002','019b7c12-0000-7000-8000-000000000010','198.51.100.4:40001');
INSERT INTO "events" VALUES(2,1767323045000005,'gap','019b7c12-0000-7000-8000-000000000002',NULL,'12');
CREATE TABLE handshakes (
            device_id TEXT NOT NULL,
            node_id TEXT NOT NULL,
            at BIGINT NOT NULL,
            PRIMARY KEY (device_id, node_id)
        );
INSERT INTO "handshakes" VALUES('019b7c12-0000-7000-8000-000000000010','019b7c12-0000-7000-8000-000000000002',1767323045000000);
CREATE UNIQUE INDEX "idx__sqlite_migrations_migration_set_name"
    ON "_sqlite_migrations" ("migration_set", "name");
COMMIT;
