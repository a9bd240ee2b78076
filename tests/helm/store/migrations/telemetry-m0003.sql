-- A telemetry.db as m0003 left it. Every row here has to survive every later migration.
BEGIN TRANSACTION;
CREATE TABLE "_sqlite_migrations" (
   "id" INTEGER PRIMARY KEY,
   "migration_set" TEXT,
   "name" TEXT,
   "applied_at" TEXT
);
INSERT INTO "_sqlite_migrations" VALUES(1,'helm-telemetry','m0001_handshakes','2026-01-02 03:04:05.000000+00:00');
INSERT INTO "_sqlite_migrations" VALUES(2,'helm-telemetry','m0002_telemetry','2026-01-02 03:04:05.000000+00:00');
INSERT INTO "_sqlite_migrations" VALUES(3,'helm-telemetry','m0003_protocols','2026-01-02 03:04:05.000000+00:00');
CREATE TABLE events (
            sequence INTEGER PRIMARY KEY,
            at BIGINT NOT NULL,
            kind TEXT NOT NULL,
            node_id TEXT,
            device_id TEXT,
            detail TEXT NOT NULL
        , received_at BIGINT NOT NULL DEFAULT 0, protocol TEXT NOT NULL DEFAULT '');
INSERT INTO "events" VALUES(1,1767323045000000,'handshake','019b7c12-0000-7000-8000-000000000002','019b7c12-0000-7000-8000-000000000010','198.51.100.4:40001',1767323045000000,'');
INSERT INTO "events" VALUES(2,1767323045000005,'gap','019b7c12-0000-7000-8000-000000000002','','12',1767323045000005,'');
CREATE TABLE gaps (
            node_id TEXT NOT NULL,
            began_at BIGINT NOT NULL,
            ended_at BIGINT NOT NULL,
            PRIMARY KEY (node_id, began_at)
        );
INSERT INTO "gaps" VALUES('gaps node_id 1',1767323045000001,1767323045000001);
INSERT INTO "gaps" VALUES('gaps node_id 2',1767323045000002,1767323045000002);
CREATE TABLE handshakes (
            device_id TEXT NOT NULL,
            node_id TEXT NOT NULL,
            at BIGINT NOT NULL,
            PRIMARY KEY (device_id, node_id)
        );
INSERT INTO "handshakes" VALUES('019b7c12-0000-7000-8000-000000000010','019b7c12-0000-7000-8000-000000000002',1767323045000000);
CREATE TABLE hours (series INTEGER NOT NULL, at BIGINT NOT NULL, low BIGINT NOT NULL, high BIGINT NOT NULL, total BIGINT NOT NULL, count BIGINT NOT NULL, last BIGINT NOT NULL, last_at BIGINT NOT NULL, PRIMARY KEY (series, at));
INSERT INTO "hours" VALUES(1,1767323045000001,1,1,1,1,1,1767323045000001);
INSERT INTO "hours" VALUES(2,1767323045000002,2,2,2,2,2,1767323045000002);
CREATE TABLE minutes (series INTEGER NOT NULL, at BIGINT NOT NULL, low BIGINT NOT NULL, high BIGINT NOT NULL, total BIGINT NOT NULL, count BIGINT NOT NULL, last BIGINT NOT NULL, last_at BIGINT NOT NULL, PRIMARY KEY (series, at));
INSERT INTO "minutes" VALUES(1,1767323045000001,1,1,1,1,1,1767323045000001);
INSERT INTO "minutes" VALUES(2,1767323045000002,2,2,2,2,2,1767323045000002);
CREATE TABLE readings (
            node_id TEXT PRIMARY KEY,
            first_at BIGINT NOT NULL,
            at BIGINT NOT NULL
        , told_at BIGINT NOT NULL DEFAULT 0);
INSERT INTO "readings" VALUES('readings node_id 1',1767323045000001,1767323045000001,0);
INSERT INTO "readings" VALUES('readings node_id 2',1767323045000002,1767323045000002,0);
CREATE TABLE samples (
            series INTEGER NOT NULL,
            at BIGINT NOT NULL,
            value BIGINT NOT NULL,
            PRIMARY KEY (series, at)
        );
INSERT INTO "samples" VALUES(1,1767323045000001,1);
INSERT INTO "samples" VALUES(2,1767323045000002,2);
CREATE TABLE series (
            id INTEGER PRIMARY KEY,
            node_id TEXT NOT NULL,
            device_id TEXT NOT NULL,
            metric TEXT NOT NULL,
            raw BIGINT NOT NULL,
            total BIGINT NOT NULL,
            UNIQUE (node_id, device_id, metric)
        );
INSERT INTO "series" VALUES(1,'series node_id 1','series device_id 1','series metric 1',1,1);
INSERT INTO "series" VALUES(2,'series node_id 2','series device_id 2','series metric 2',2,2);
CREATE TABLE sessions (
            id TEXT PRIMARY KEY,
            node_id TEXT NOT NULL,
            device_id TEXT NOT NULL,
            opened_at BIGINT NOT NULL,
            seen_at BIGINT NOT NULL,
            until_at BIGINT NOT NULL,
            reason TEXT NOT NULL,
            endpoint TEXT NOT NULL,
            last_at BIGINT NOT NULL, protocol TEXT NOT NULL DEFAULT '',
            UNIQUE (node_id, device_id, opened_at)
        );
INSERT INTO "sessions" VALUES('sessions id 1','sessions node_id 1','sessions device_id 1',1767323045000001,1767323045000001,1767323045000001,'sessions reason 1','sessions endpoint 1',1767323045000001,'');
INSERT INTO "sessions" VALUES('sessions id 2','sessions node_id 2','sessions device_id 2',1767323045000002,1767323045000002,1767323045000002,'sessions reason 2','sessions endpoint 2',1767323045000002,'');
CREATE UNIQUE INDEX "idx__sqlite_migrations_migration_set_name"
    ON "_sqlite_migrations" ("migration_set", "name");
CREATE UNIQUE INDEX events_once ON events (node_id, device_id, kind, at);
CREATE INDEX handshakes_by_node ON handshakes (node_id, device_id);
CREATE INDEX series_by_device ON series (device_id, metric);
CREATE INDEX gaps_by_end ON gaps (node_id, ended_at);
CREATE INDEX sessions_by_age ON sessions (opened_at, id);
CREATE INDEX sessions_by_device ON sessions (device_id, opened_at, id);
CREATE INDEX sessions_by_node ON sessions (node_id, opened_at, id);
CREATE INDEX sessions_by_end ON sessions (until_at)
        ;
COMMIT;
