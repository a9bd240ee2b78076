-- A core.db as m0007 left it. Every row here has to survive every later migration.
BEGIN TRANSACTION;
CREATE TABLE "_sqlite_migrations" (
   "id" INTEGER PRIMARY KEY,
   "migration_set" TEXT,
   "name" TEXT,
   "applied_at" TEXT
);
INSERT INTO "_sqlite_migrations" VALUES(1,'helm','m0001_fleet','2026-01-02 03:04:05.000000+00:00');
INSERT INTO "_sqlite_migrations" VALUES(2,'helm','m0002_record','2026-01-02 03:04:05.000000+00:00');
INSERT INTO "_sqlite_migrations" VALUES(3,'helm','m0003_hand','2026-01-02 03:04:05.000000+00:00');
INSERT INTO "_sqlite_migrations" VALUES(4,'helm','m0004_reality','2026-01-02 03:04:05.000000+00:00');
INSERT INTO "_sqlite_migrations" VALUES(5,'helm','m0005_desk','2026-01-02 03:04:05.000000+00:00');
INSERT INTO "_sqlite_migrations" VALUES(6,'helm','m0006_onboard','2026-01-02 03:04:05.000000+00:00');
INSERT INTO "_sqlite_migrations" VALUES(7,'helm','m0007_places','2026-01-02 03:04:05.000000+00:00');
CREATE TABLE admin_devices (
    device_id TEXT PRIMARY KEY REFERENCES devices (id) ON DELETE CASCADE,
    admin_id TEXT NOT NULL REFERENCES admins (id) ON DELETE CASCADE,
    created_at BIGINT NOT NULL,
    created_by TEXT NOT NULL
);
INSERT INTO "admin_devices" VALUES('019b7c12-0000-7000-8000-000000000010','019b7c12-0000-7000-8000-000000000022',1767323045000001,'admin_devices created_by 1');
INSERT INTO "admin_devices" VALUES('019b7c12-0000-7000-8000-000000000011','019b7c12-0000-7000-8000-000000000022',1767323045000002,'admin_devices created_by 2');
CREATE TABLE admin_identities (
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    admin_id TEXT NOT NULL REFERENCES admins (id) ON DELETE CASCADE,
    created_at BIGINT NOT NULL,
    seen_at BIGINT NOT NULL,
    PRIMARY KEY (issuer, subject)
);
INSERT INTO "admin_identities" VALUES('admin_identities issuer 1','admin_identities subject 1','019b7c12-0000-7000-8000-000000000022',1767323045000001,1767323045000001);
INSERT INTO "admin_identities" VALUES('admin_identities issuer 2','admin_identities subject 2','019b7c12-0000-7000-8000-000000000022',1767323045000002,1767323045000002);
CREATE TABLE admin_links (
            hash BYTEA PRIMARY KEY,
            admin_id TEXT NOT NULL REFERENCES admins (id) ON DELETE CASCADE,
            expires_at BIGINT NOT NULL,
            created_at BIGINT NOT NULL,
            created_by TEXT NOT NULL,
            used_at BIGINT
        );
INSERT INTO "admin_links" VALUES(X'61646D696E5F6C696E6B7320686173682031','019b7c12-0000-7000-8000-000000000022',1767323045000001,1767323045000001,'admin_links created_by 1',1767323045000001);
INSERT INTO "admin_links" VALUES(X'61646D696E5F6C696E6B7320686173682032','019b7c12-0000-7000-8000-000000000022',1767323045000002,1767323045000002,'admin_links created_by 2',1767323045000002);
CREATE TABLE admin_sessions (
            hash BYTEA PRIMARY KEY,
            id TEXT NOT NULL UNIQUE,
            admin_id TEXT NOT NULL REFERENCES admins (id) ON DELETE CASCADE,
            csrf BYTEA NOT NULL,
            created_at BIGINT NOT NULL,
            seen_at BIGINT NOT NULL,
            proven_at BIGINT NOT NULL,
            expires_at BIGINT NOT NULL,
            browser TEXT NOT NULL
        , how TEXT NOT NULL DEFAULT '', bound TEXT NOT NULL DEFAULT '');
INSERT INTO "admin_sessions" VALUES(X'61646D696E5F73657373696F6E7320686173682031','admin_sessions id 1','019b7c12-0000-7000-8000-000000000022',X'61646D696E5F73657373696F6E7320637372662031',1767323045000001,1767323045000001,1767323045000001,1767323045000001,'admin_sessions browser 1','','');
INSERT INTO "admin_sessions" VALUES(X'61646D696E5F73657373696F6E7320686173682032','admin_sessions id 2','019b7c12-0000-7000-8000-000000000022',X'61646D696E5F73657373696F6E7320637372662032',1767323045000002,1767323045000002,1767323045000002,1767323045000002,'admin_sessions browser 2','','');
CREATE TABLE admins (
            id TEXT PRIMARY KEY,
            name TEXT NOT NULL UNIQUE,
            role TEXT NOT NULL,
            state TEXT NOT NULL,
            password TEXT,
            totp BYTEA,
            totp_step BIGINT NOT NULL,
            version BIGINT NOT NULL,
            created_at BIGINT NOT NULL,
            updated_at BIGINT NOT NULL,
            updated_by TEXT NOT NULL
        );
INSERT INTO "admins" VALUES('019b7c12-0000-7000-8000-000000000022','grace','owner','invited','hash',X'77726170706564',0,1,1767323045000000,1767323045000000,'operator');
CREATE TABLE adoptions (
            id TEXT PRIMARY KEY,
            node_id TEXT NOT NULL,
            device_id TEXT NOT NULL,
            peer TEXT NOT NULL,
            state TEXT NOT NULL,
            version BIGINT NOT NULL,
            created_at BIGINT NOT NULL,
            updated_at BIGINT NOT NULL,
            updated_by TEXT NOT NULL
        );
INSERT INTO "adoptions" VALUES('adoptions id 1','adoptions node_id 1','adoptions device_id 1','adoptions peer 1','adoptions state 1',1,1767323045000001,1767323045000001,'adoptions updated_by 1');
INSERT INTO "adoptions" VALUES('adoptions id 2','adoptions node_id 2','adoptions device_id 2','adoptions peer 2','adoptions state 2',2,1767323045000002,1767323045000002,'adoptions updated_by 2');
CREATE TABLE alert_deliveries (
    id TEXT PRIMARY KEY,
    alert_id TEXT NOT NULL REFERENCES alerts (id) ON DELETE CASCADE,
    target_id TEXT NOT NULL REFERENCES alert_targets (id) ON DELETE CASCADE,
    what TEXT NOT NULL,
    queued_at BIGINT NOT NULL,
    attempts BIGINT NOT NULL DEFAULT 0,
    next_try_at BIGINT NOT NULL,
    done_at BIGINT,
    outcome TEXT NOT NULL DEFAULT '',
    last_error TEXT NOT NULL DEFAULT ''
);
INSERT INTO "alert_deliveries" VALUES('alert_deliveries id 1','alerts id 1','alert_targets id 1','alert_deliveries what 1',1767323045000001,1,1767323045000001,1767323045000001,'alert_deliveries outcome 1','alert_deliveries last_error 1');
INSERT INTO "alert_deliveries" VALUES('alert_deliveries id 2','alerts id 2','alert_targets id 2','alert_deliveries what 2',1767323045000002,2,1767323045000002,1767323045000002,'alert_deliveries outcome 2','alert_deliveries last_error 2');
CREATE TABLE alert_mutes (
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    until_at BIGINT NOT NULL,
    note TEXT NOT NULL,
    version BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    updated_by TEXT NOT NULL
);
INSERT INTO "alert_mutes" VALUES('alert_mutes id 1','alert_mutes kind 1','alert_mutes subject 1',1767323045000001,'alert_mutes note 1',1,1767323045000001,1767323045000001,'alert_mutes updated_by 1');
INSERT INTO "alert_mutes" VALUES('alert_mutes id 2','alert_mutes kind 2','alert_mutes subject 2',1767323045000002,'alert_mutes note 2',2,1767323045000002,1767323045000002,'alert_mutes updated_by 2');
CREATE TABLE alert_targets (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    service TEXT NOT NULL,
    url BYTEA NOT NULL,
    minimum TEXT NOT NULL,
    kinds TEXT NOT NULL,
    enabled BIGINT NOT NULL,
    version BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    updated_by TEXT NOT NULL
);
INSERT INTO "alert_targets" VALUES('alert_targets id 1','alert_targets name 1','alert_targets service 1',X'616C6572745F746172676574732075726C2031','alert_targets minimum 1','alert_targets kinds 1',1,1,1767323045000001,1767323045000001,'alert_targets updated_by 1');
INSERT INTO "alert_targets" VALUES('alert_targets id 2','alert_targets name 2','alert_targets service 2',X'616C6572745F746172676574732075726C2032','alert_targets minimum 2','alert_targets kinds 2',2,2,1767323045000002,1767323045000002,'alert_targets updated_by 2');
CREATE TABLE alerts (
            id TEXT PRIMARY KEY,
            kind TEXT NOT NULL,
            severity TEXT NOT NULL,
            state TEXT NOT NULL,
            noun TEXT NOT NULL,
            subject TEXT NOT NULL,
            text TEXT NOT NULL,
            evidence TEXT NOT NULL,
            opened_at BIGINT NOT NULL,
            acknowledged_at BIGINT,
            acknowledged_by TEXT,
            resolved_at BIGINT,
            version BIGINT NOT NULL,
            created_at BIGINT NOT NULL,
            updated_at BIGINT NOT NULL,
            updated_by TEXT NOT NULL
        );
INSERT INTO "alerts" VALUES('alerts id 1','alerts kind 1','alerts severity 1','alerts state 1','alerts noun 1','alerts subject 1','alerts text 1','alerts evidence 1',1767323045000001,1767323045000001,'alerts acknowledged_by 1',1767323045000001,1,1767323045000001,1767323045000001,'alerts updated_by 1');
INSERT INTO "alerts" VALUES('alerts id 2','alerts kind 2','alerts severity 2','alerts state 2','alerts noun 2','alerts subject 2','alerts text 2','alerts evidence 2',1767323045000002,1767323045000002,'alerts acknowledged_by 2',1767323045000002,2,1767323045000002,1767323045000002,'alerts updated_by 2');
CREATE TABLE audit (
            sequence BIGINT PRIMARY KEY,
            at BIGINT NOT NULL,
            actor TEXT NOT NULL,
            via TEXT NOT NULL,
            verb TEXT NOT NULL,
            noun TEXT NOT NULL,
            subject TEXT NOT NULL,
            version BIGINT NOT NULL,
            detail TEXT NOT NULL,
            hash BYTEA NOT NULL
        );
INSERT INTO "audit" VALUES(1,1767323045000000,'operator','socket','user_added','user','019b7c12-0000-7000-8000-000000000020',1,'',X'E755CAC61DE6E096CE5AA05E540AEBF7564397F4B03F4FC1147569C1BB7B89BB');
INSERT INTO "audit" VALUES(2,1767323045000000,'operator','socket','user_changed','user','019b7c12-0000-7000-8000-000000000020',2,'note',X'01A33388EB06C6E9BC7001E30587CB3D996A14B76F8882F2D355D4BCFD27C7D8');
INSERT INTO "audit" VALUES(3,1767323045000000,'operator','socket','group_added','group','019b7c12-0000-7000-8000-000000000021',1,'',X'1601282B846460C4F9BC84F4B59D1A19D3B81FB5E3AD2143652063B0C44FD19E');
INSERT INTO "audit" VALUES(4,1767323045000000,'operator','socket','group_joined','group','019b7c12-0000-7000-8000-000000000021',2,'Ada',X'87442E5686F3EA2F84825DC3759ABB36A75D8E1282F2B42E6ABF89163411964E');
INSERT INTO "audit" VALUES(5,1767323045000000,'operator','socket','admin_added','admin','019b7c12-0000-7000-8000-000000000022',1,'',X'91A60C75FCEB1B6EF6A866409404853C470D121871771A7C134FDFBA2AF1896B');
INSERT INTO "audit" VALUES(6,1767323045000000,'operator','socket','token_added','token','019b7c12-0000-7000-8000-000000000023',1,'',X'354D3A8645D9EE6D239FA542CF274314A07BC81793ADBCCF8A768C41E97DE584');
CREATE TABLE bundles (
            device_id TEXT PRIMARY KEY REFERENCES devices (id),
            epoch BIGINT NOT NULL,
            revision BIGINT NOT NULL,
            profile_hash BYTEA NOT NULL,
            sealed BYTEA NOT NULL
        , sealed_at BIGINT NOT NULL DEFAULT 0, checked_revision BIGINT NOT NULL DEFAULT 0, held_epoch BIGINT NOT NULL DEFAULT 0, held_revision BIGINT NOT NULL DEFAULT 0, synced_at BIGINT, behind_at BIGINT);
INSERT INTO "bundles" VALUES('019b7c12-0000-7000-8000-000000000010',1767323045,2,X'4848484848484848484848484848484848484848484848484848484848484848',X'63697068657274657874',0,0,0,0,NULL,0);
CREATE TABLE certificates (
            id TEXT PRIMARY KEY,
            role TEXT NOT NULL,
            subject TEXT NOT NULL,
            serial TEXT NOT NULL,
            spki BYTEA NOT NULL,
            certificate BYTEA NOT NULL,
            state TEXT NOT NULL,
            not_before_at BIGINT NOT NULL,
            not_after_at BIGINT NOT NULL,
            version BIGINT NOT NULL,
            created_at BIGINT NOT NULL,
            updated_at BIGINT NOT NULL,
            updated_by TEXT NOT NULL
        );
INSERT INTO "certificates" VALUES('certificates id 1','certificates role 1','certificates subject 1','certificates serial 1',X'6365727469666963617465732073706B692031',X'6365727469666963617465732063657274696669636174652031','certificates state 1',1767323045000001,1767323045000001,1,1767323045000001,1767323045000001,'certificates updated_by 1');
INSERT INTO "certificates" VALUES('certificates id 2','certificates role 2','certificates subject 2','certificates serial 2',X'6365727469666963617465732073706B692032',X'6365727469666963617465732063657274696669636174652032','certificates state 2',1767323045000002,1767323045000002,2,1767323045000002,1767323045000002,'certificates updated_by 2');
CREATE TABLE checkpoints (
            sequence BIGINT PRIMARY KEY,
            at BIGINT NOT NULL,
            hash BYTEA NOT NULL,
            signature BYTEA NOT NULL
        );
INSERT INTO "checkpoints" VALUES(1,1767323045000001,X'636865636B706F696E747320686173682031',X'636865636B706F696E7473207369676E61747572652031');
INSERT INTO "checkpoints" VALUES(2,1767323045000002,X'636865636B706F696E747320686173682032',X'636865636B706F696E7473207369676E61747572652032');
CREATE TABLE denials (
            id TEXT PRIMARY KEY,
            role TEXT NOT NULL,
            subject TEXT NOT NULL,
            spki BYTEA,
            tunnel_key_hash BYTEA,
            not_after BIGINT NOT NULL,
            created_at BIGINT NOT NULL
        );
INSERT INTO "denials" VALUES('denials id 1','denials role 1','denials subject 1',X'64656E69616C732073706B692031',X'64656E69616C732074756E6E656C5F6B65795F686173682031',1,1767323045000001);
INSERT INTO "denials" VALUES('denials id 2','denials role 2','denials subject 2',X'64656E69616C732073706B692032',X'64656E69616C732074756E6E656C5F6B65795F686173682032',2,1767323045000002);
CREATE TABLE "device_certificates" (
            fingerprint TEXT PRIMARY KEY,
            device_id TEXT NOT NULL REFERENCES devices (id),
            spki BYTEA NOT NULL,
            certificate BYTEA NOT NULL,
            not_after BIGINT NOT NULL
        );
INSERT INTO "device_certificates" VALUES('0000000000000000000000000000000000000000000000000000000000000000','019b7c12-0000-7000-8000-000000000010',X'6465766963652073706B692030',X'6465766963652063657274696669636174652030',1798859045000000);
INSERT INTO "device_certificates" VALUES('1111111111111111111111111111111111111111111111111111111111111111','019b7c12-0000-7000-8000-000000000011',X'6465766963652073706B692031',X'6465766963652063657274696669636174652031',1798859045000000);
CREATE TABLE devices (
            id TEXT PRIMARY KEY,
            name TEXT NOT NULL,
            state TEXT NOT NULL,
            sealing_key BYTEA NOT NULL UNIQUE,
            derive_key BYTEA NOT NULL UNIQUE,
            noise_key BYTEA NOT NULL UNIQUE,
            awg_key BYTEA NOT NULL UNIQUE,
            address4 TEXT NOT NULL UNIQUE,
            address6 TEXT NOT NULL UNIQUE,
            version BIGINT NOT NULL,
            created_at BIGINT NOT NULL,
            updated_at BIGINT NOT NULL,
            updated_by TEXT NOT NULL
        , user_id TEXT REFERENCES users (id), note TEXT NOT NULL DEFAULT '', expires_at BIGINT, quota_bytes BIGINT, rate_limit BIGINT, exported BIGINT NOT NULL DEFAULT 0, outdated_at BIGINT);
INSERT INTO "devices" VALUES('019b7c12-0000-7000-8000-000000000010','Ada''s phone','active',X'0A0A0A0A0A0A0A0A0A0A0A0A0A0A0A0A0A0A0A0A0A0A0A0A0A0A0A0A0A0A0A0A',X'1414141414141414141414141414141414141414141414141414141414141414',X'1E1E1E1E1E1E1E1E1E1E1E1E1E1E1E1E1E1E1E1E1E1E1E1E1E1E1E1E1E1E1E1E',X'2828282828282828282828282828282828282828282828282828282828282828','10.86.0.2','fd12:3456:789a:bcde::2',1,1767323045000003,1767323045000005,'operator',NULL,'',NULL,NULL,NULL,0,NULL);
INSERT INTO "devices" VALUES('019b7c12-0000-7000-8000-000000000011','old laptop','revoked',X'0B0B0B0B0B0B0B0B0B0B0B0B0B0B0B0B0B0B0B0B0B0B0B0B0B0B0B0B0B0B0B0B',X'1515151515151515151515151515151515151515151515151515151515151515',X'1F1F1F1F1F1F1F1F1F1F1F1F1F1F1F1F1F1F1F1F1F1F1F1F1F1F1F1F1F1F1F1F',X'2929292929292929292929292929292929292929292929292929292929292929','10.86.0.3','fd12:3456:789a:bcde::3',2,1767323045000004,1767323045000005,'operator',NULL,'',NULL,NULL,NULL,0,NULL);
CREATE TABLE exported_ways (
    device_id TEXT NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
    node_id TEXT NOT NULL,
    protocol TEXT NOT NULL,
    digest BYTEA NOT NULL,
    PRIMARY KEY (device_id, node_id, protocol)
);
INSERT INTO "exported_ways" VALUES('019b7c12-0000-7000-8000-000000000010','exported_ways node_id 1','exported_ways protocol 1',X'6578706F727465645F77617973206469676573742031');
INSERT INTO "exported_ways" VALUES('019b7c12-0000-7000-8000-000000000011','exported_ways node_id 2','exported_ways protocol 2',X'6578706F727465645F77617973206469676573742032');
CREATE TABLE fleet (
            id TEXT PRIMARY KEY,
            posture TEXT NOT NULL CHECK (posture IN ('personal', 'enterprise')),
            epoch BIGINT NOT NULL,
            term BIGINT NOT NULL,
            revision BIGINT NOT NULL,
            pool4 TEXT NOT NULL,
            pool6 TEXT NOT NULL,
            root BYTEA NOT NULL,
            fleet_ca BYTEA NOT NULL,
            device_ca BYTEA NOT NULL,
            controller BYTEA NOT NULL,
            controller_id TEXT NOT NULL,
            manifest BYTEA NOT NULL,
            created_at BIGINT NOT NULL
        , profiles_revision BIGINT NOT NULL DEFAULT 1, deny_version BIGINT NOT NULL DEFAULT 0, deny_issued BIGINT NOT NULL DEFAULT 0, lease_holder BYTEA, lock_key BYTEA, next_fleet_ca BYTEA, next_device_ca BYTEA, backed_up_at BIGINT, restored_at BIGINT);
INSERT INTO "fleet" VALUES('0123456789abcdef','personal',1767323045,3,7,'10.86.0.0/16','fd12:3456:789a:bcde::/64',X'726F6F74',X'666C656574206361',X'646576696365206361',X'636F6E74726F6C6C6572','019b7c12-0000-7000-8000-000000000001',X'6D616E6966657374',1767323045000000,1,0,0,NULL,NULL,NULL,NULL,NULL,NULL);
CREATE TABLE group_members (
            group_id TEXT NOT NULL REFERENCES groups (id) ON DELETE CASCADE,
            user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
            PRIMARY KEY (group_id, user_id)
        );
INSERT INTO "group_members" VALUES('019b7c12-0000-7000-8000-000000000021','019b7c12-0000-7000-8000-000000000020');
CREATE TABLE groups (
            id TEXT PRIMARY KEY,
            name TEXT NOT NULL UNIQUE,
            note TEXT NOT NULL,
            node_tags TEXT NOT NULL,
            protocols TEXT NOT NULL,
            everybody BIGINT NOT NULL,
            version BIGINT NOT NULL,
            created_at BIGINT NOT NULL,
            updated_at BIGINT NOT NULL,
            updated_by TEXT NOT NULL
        );
INSERT INTO "groups" VALUES('019b7c12-0000-7000-8000-000000000021','office','','["eu", "fast"]','["amneziawg", "reality"]',0,2,1767323045000000,1767323045000000,'operator');
CREATE TABLE idempotency (
            id TEXT PRIMARY KEY,
            request BYTEA NOT NULL,
            answer BYTEA NOT NULL,
            at BIGINT NOT NULL
        );
INSERT INTO "idempotency" VALUES('idempotency id 1',X'6964656D706F74656E637920726571756573742031',X'6964656D706F74656E637920616E737765722031',1767323045000001);
INSERT INTO "idempotency" VALUES('idempotency id 2',X'6964656D706F74656E637920726571756573742032',X'6964656D706F74656E637920616E737765722032',1767323045000002);
CREATE TABLE member_states (
            id TEXT PRIMARY KEY,
            applied_epoch BIGINT NOT NULL DEFAULT 0,
            applied_term BIGINT NOT NULL DEFAULT 0,
            applied_revision BIGINT NOT NULL DEFAULT 0,
            deny_epoch BIGINT NOT NULL DEFAULT 0,
            deny_version BIGINT NOT NULL DEFAULT 0,
            manifest_version BIGINT NOT NULL DEFAULT 0,
            certificate TEXT NOT NULL DEFAULT '',
            checkpoint BIGINT NOT NULL DEFAULT 0,
            read_epoch BIGINT NOT NULL DEFAULT 0,
            heard_at BIGINT NOT NULL DEFAULT 0
        , reality_port BIGINT NOT NULL DEFAULT 0);
INSERT INTO "member_states" VALUES('member_states id 1',1,1,1,1,1,1,'member_states certificate 1',1,1,1767323045000001,0);
INSERT INTO "member_states" VALUES('member_states id 2',2,2,2,2,2,2,'member_states certificate 2',2,2,1767323045000002,0);
CREATE TABLE nodes (
            id TEXT PRIMARY KEY,
            name TEXT NOT NULL UNIQUE,
            address TEXT NOT NULL,
            control_port BIGINT NOT NULL,
            awg_port BIGINT NOT NULL,
            tags TEXT NOT NULL,
            state TEXT NOT NULL,
            spki BYTEA NOT NULL UNIQUE,
            awg_key BYTEA NOT NULL UNIQUE,
            derive_key BYTEA NOT NULL UNIQUE,
            awg_parameters TEXT NOT NULL,
            certificate BYTEA NOT NULL,
            version BIGINT NOT NULL,
            created_at BIGINT NOT NULL,
            updated_at BIGINT NOT NULL,
            updated_by TEXT NOT NULL
        , note TEXT NOT NULL DEFAULT '', lock_signature BYTEA, key_proof BYTEA, spare_ports TEXT NOT NULL DEFAULT '[8443]', reality TEXT NOT NULL DEFAULT 'null', ssh_destination TEXT NOT NULL DEFAULT '', ssh_host_key TEXT NOT NULL DEFAULT '', place TEXT NOT NULL DEFAULT '', latitude DOUBLE PRECISION, longitude DOUBLE PRECISION);
INSERT INTO "nodes" VALUES('019b7c12-0000-7000-8000-000000000002','amsterdam','203.0.113.7',7443,443,'["eu", "fast"]','active',X'6E6F64652073706B69',X'4141414141414141414141414141414141414141414141414141414141414141',X'4242424242424242424242424242424242424242424242424242424242424242','{"jc": 5, "jmin": 33, "jmax": 162, "s1": 49, "s2": 31, "h1": 1095513153, "h2": 506456974, "h3": 2127877504, "h4": 1120825166}',X'6E6F6465206365727469666963617465',1,1767323045000001,1767323045000001,'operator','',NULL,NULL,'[8443]','null','','','',NULL,NULL);
CREATE TABLE onboardings (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    destination TEXT NOT NULL,
    address TEXT NOT NULL,
    parts TEXT NOT NULL,
    state TEXT NOT NULL,
    step TEXT NOT NULL,
    text TEXT NOT NULL,
    asks TEXT NOT NULL,
    host_key TEXT NOT NULL,
    ended_at BIGINT,
    version BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    updated_by TEXT NOT NULL
);
INSERT INTO "onboardings" VALUES('onboardings id 1','onboardings name 1','onboardings destination 1','onboardings address 1','onboardings parts 1','onboardings state 1','onboardings step 1','onboardings text 1','onboardings asks 1','onboardings host_key 1',1767323045000001,1,1767323045000001,1767323045000001,'onboardings updated_by 1');
INSERT INTO "onboardings" VALUES('onboardings id 2','onboardings name 2','onboardings destination 2','onboardings address 2','onboardings parts 2','onboardings state 2','onboardings step 2','onboardings text 2','onboardings asks 2','onboardings host_key 2',1767323045000002,2,1767323045000002,1767323045000002,'onboardings updated_by 2');
CREATE TABLE outbox (
            sequence INTEGER PRIMARY KEY,
            at BIGINT NOT NULL,
            kind TEXT NOT NULL,
            subject TEXT NOT NULL,
            actor TEXT NOT NULL,
            detail TEXT NOT NULL
        , noun TEXT NOT NULL DEFAULT '', version BIGINT NOT NULL DEFAULT 0, body TEXT);
INSERT INTO "outbox" VALUES(1,1767323045000001,'node_added','019b7c12-0000-7000-8000-000000000002','operator','amsterdam','',0,NULL);
INSERT INTO "outbox" VALUES(2,1767323045000002,'device_revoked','019b7c12-0000-7000-8000-000000000011','operator','old laptop','',0,NULL);
INSERT INTO "outbox" VALUES(3,1767323045000000,'user_added','019b7c12-0000-7000-8000-000000000020','operator','','user',1,'{"id":"019b7c12-0000-7000-8000-000000000020","name":"Ada","email":"ada@example.org","state":"active","note":"","expires_at":null,"device_limit":null,"quota_bytes":10000000000,"quota_period":"month","quota_action":"warn","version":1,"created_at":"2026-01-02T03:04:05Z","updated_at":"2026-01-02T03:04:05Z","updated_by":"operator"}');
INSERT INTO "outbox" VALUES(4,1767323045000000,'user_changed','019b7c12-0000-7000-8000-000000000020','operator','note','user',2,'{"id":"019b7c12-0000-7000-8000-000000000020","name":"Ada","email":"ada@example.org","state":"active","note":"has two telephones","expires_at":null,"device_limit":null,"quota_bytes":10000000000,"quota_period":"month","quota_action":"warn","version":2,"created_at":"2026-01-02T03:04:05Z","updated_at":"2026-01-02T03:04:05Z","updated_by":"operator"}');
INSERT INTO "outbox" VALUES(5,1767323045000000,'group_added','019b7c12-0000-7000-8000-000000000021','operator','','group',1,'{"id":"019b7c12-0000-7000-8000-000000000021","name":"office","note":"","node_tags":["eu","fast"],"protocols":["amneziawg","reality"],"everybody":false,"version":1,"created_at":"2026-01-02T03:04:05Z","updated_at":"2026-01-02T03:04:05Z","updated_by":"operator"}');
INSERT INTO "outbox" VALUES(6,1767323045000000,'group_joined','019b7c12-0000-7000-8000-000000000021','operator','Ada','group',2,'{"id":"019b7c12-0000-7000-8000-000000000021","name":"office","note":"","node_tags":["eu","fast"],"protocols":["amneziawg","reality"],"everybody":false,"version":2,"created_at":"2026-01-02T03:04:05Z","updated_at":"2026-01-02T03:04:05Z","updated_by":"operator"}');
INSERT INTO "outbox" VALUES(7,1767323045000000,'admin_added','019b7c12-0000-7000-8000-000000000022','operator','','admin',1,'{"id":"019b7c12-0000-7000-8000-000000000022","name":"grace","role":"owner","state":"invited","version":1,"created_at":"2026-01-02T03:04:05Z","updated_at":"2026-01-02T03:04:05Z","updated_by":"operator","password_set":true,"totp_set":true}');
INSERT INTO "outbox" VALUES(8,1767323045000000,'token_added','019b7c12-0000-7000-8000-000000000023','operator','','token',1,'{"id":"019b7c12-0000-7000-8000-000000000023","name":"robot","admin_id":"019b7c12-0000-7000-8000-000000000022","role":"viewer","scopes":[],"state":"active","expires_at":null,"used_at":null,"version":1,"created_at":"2026-01-02T03:04:05Z","updated_at":"2026-01-02T03:04:05Z","updated_by":"operator"}');
CREATE TABLE pairs (
            device_id TEXT NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
            node_id TEXT NOT NULL REFERENCES nodes (id) ON DELETE CASCADE,
            generation BIGINT NOT NULL,
            acknowledged BIGINT NOT NULL,
            device_commitment BYTEA,
            node_commitment BYTEA,
            PRIMARY KEY (device_id, node_id)
        );
INSERT INTO "pairs" VALUES('019b7c12-0000-7000-8000-000000000010','019b7c12-0000-7000-8000-000000000002',1,1,X'7061697273206465766963655F636F6D6D69746D656E742031',X'7061697273206E6F64655F636F6D6D69746D656E742031');
INSERT INTO "pairs" VALUES('019b7c12-0000-7000-8000-000000000011','019b7c12-0000-7000-8000-000000000002',2,2,X'7061697273206465766963655F636F6D6D69746D656E742032',X'7061697273206E6F64655F636F6D6D69746D656E742032');
CREATE TABLE passkeys (
    id TEXT PRIMARY KEY,
    admin_id TEXT NOT NULL REFERENCES admins (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    site TEXT NOT NULL,
    credential BYTEA NOT NULL UNIQUE,
    public_key BYTEA NOT NULL,
    counter BIGINT NOT NULL,
    synced BIGINT NOT NULL,
    used_at BIGINT,
    version BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    updated_by TEXT NOT NULL
);
INSERT INTO "passkeys" VALUES('passkeys id 1','019b7c12-0000-7000-8000-000000000022','passkeys name 1','passkeys site 1',X'706173736B6579732063726564656E7469616C2031',X'706173736B657973207075626C69635F6B65792031',1,1,1767323045000001,1,1767323045000001,1767323045000001,'passkeys updated_by 1');
INSERT INTO "passkeys" VALUES('passkeys id 2','019b7c12-0000-7000-8000-000000000022','passkeys name 2','passkeys site 2',X'706173736B6579732063726564656E7469616C2032',X'706173736B657973207075626C69635F6B65792032',2,2,1767323045000002,2,1767323045000002,1767323045000002,'passkeys updated_by 2');
CREATE TABLE pools (
            id TEXT PRIMARY KEY,
            name TEXT NOT NULL UNIQUE,
            network4 TEXT NOT NULL UNIQUE,
            network6 TEXT NOT NULL UNIQUE,
            next_host BIGINT NOT NULL,
            last_host BIGINT NOT NULL,
            preferred BIGINT NOT NULL,
            version BIGINT NOT NULL,
            created_at BIGINT NOT NULL,
            updated_at BIGINT NOT NULL,
            updated_by TEXT NOT NULL
        );
INSERT INTO "pools" VALUES('00000000-0000-7000-8000-000000000001','devices','10.86.0.0/16','fd12:3456:789a:bcde::/64',4,65534,1,1,1767323045000000,1767323045000000,'helm');
CREATE TABLE quota_leases (
            device_id TEXT NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
            node_id TEXT NOT NULL REFERENCES nodes (id) ON DELETE CASCADE,
            lease BIGINT NOT NULL,
            octets BIGINT NOT NULL,
            used BIGINT NOT NULL,
            spent BIGINT NOT NULL,
            period_at BIGINT NOT NULL,
            PRIMARY KEY (device_id, node_id)
        );
INSERT INTO "quota_leases" VALUES('019b7c12-0000-7000-8000-000000000010','019b7c12-0000-7000-8000-000000000002',1,1,1,1,1767323045000001);
INSERT INTO "quota_leases" VALUES('019b7c12-0000-7000-8000-000000000011','019b7c12-0000-7000-8000-000000000002',2,2,2,2,1767323045000002);
CREATE TABLE quota_marks (
    device_id TEXT PRIMARY KEY REFERENCES devices (id) ON DELETE CASCADE,
    period_at BIGINT NOT NULL,
    total BIGINT NOT NULL
);
INSERT INTO "quota_marks" VALUES('019b7c12-0000-7000-8000-000000000010',1767323045000001,1);
INSERT INTO "quota_marks" VALUES('019b7c12-0000-7000-8000-000000000011',1767323045000002,2);
CREATE TABLE reality_keys (
            node_id TEXT NOT NULL REFERENCES nodes (id) ON DELETE CASCADE,
            generation BIGINT NOT NULL,
            public_key BYTEA NOT NULL,
            proof BYTEA NOT NULL,
            created_at BIGINT NOT NULL,
            PRIMARY KEY (node_id, generation)
        );
INSERT INTO "reality_keys" VALUES('019b7c12-0000-7000-8000-000000000002',1,X'7265616C6974795F6B657973207075626C69635F6B65792031',X'7265616C6974795F6B6579732070726F6F662031',1767323045000001);
INSERT INTO "reality_keys" VALUES('019b7c12-0000-7000-8000-000000000002',2,X'7265616C6974795F6B657973207075626C69635F6B65792032',X'7265616C6974795F6B6579732070726F6F662032',1767323045000002);
CREATE TABLE reissues (
            id TEXT PRIMARY KEY,
            node_id TEXT NOT NULL REFERENCES nodes (id) ON DELETE CASCADE,
            port BIGINT NOT NULL,
            parameters TEXT NOT NULL,
            until_at BIGINT NOT NULL,
            state TEXT NOT NULL,
            version BIGINT NOT NULL,
            created_at BIGINT NOT NULL,
            updated_at BIGINT NOT NULL,
            updated_by TEXT NOT NULL
        , reality TEXT NOT NULL DEFAULT 'null', revision BIGINT NOT NULL DEFAULT 0);
INSERT INTO "reissues" VALUES('reissues id 1','019b7c12-0000-7000-8000-000000000002',1,'reissues parameters 1',1767323045000001,'reissues state 1',1,1767323045000001,1767323045000001,'reissues updated_by 1','null',0);
INSERT INTO "reissues" VALUES('reissues id 2','019b7c12-0000-7000-8000-000000000002',2,'reissues parameters 2',1767323045000002,'reissues state 2',2,1767323045000002,1767323045000002,'reissues updated_by 2','null',0);
CREATE TABLE relays (
            id TEXT PRIMARY KEY,
            name TEXT NOT NULL UNIQUE,
            address TEXT NOT NULL,
            ingress_port BIGINT NOT NULL,
            tunnel_port BIGINT NOT NULL,
            state TEXT NOT NULL,
            spki BYTEA NOT NULL UNIQUE,
            certificate BYTEA NOT NULL,
            version BIGINT NOT NULL,
            created_at BIGINT NOT NULL,
            updated_at BIGINT NOT NULL,
            updated_by TEXT NOT NULL
        , note TEXT NOT NULL DEFAULT '', ssh_destination TEXT NOT NULL DEFAULT '', ssh_host_key TEXT NOT NULL DEFAULT '', place TEXT NOT NULL DEFAULT '', latitude DOUBLE PRECISION, longitude DOUBLE PRECISION);
INSERT INTO "relays" VALUES('019b7c12-0000-7000-8000-000000000003','gate','gate.example',443,7444,'active',X'72656C61792073706B69',X'72656C6179206365727469666963617465',1,1767323045000002,1767323045000002,'operator','','','','',NULL,NULL);
CREATE TABLE rotation_members (
            rotation_id TEXT NOT NULL REFERENCES rotations (id) ON DELETE CASCADE,
            member TEXT NOT NULL,
            waiting BIGINT NOT NULL,
            PRIMARY KEY (rotation_id, member)
        );
INSERT INTO "rotation_members" VALUES('rotations id 1','rotation_members member 1',1);
INSERT INTO "rotation_members" VALUES('rotations id 2','rotation_members member 2',2);
CREATE TABLE rotations (
            id TEXT PRIMARY KEY,
            subjects TEXT NOT NULL,
            state TEXT NOT NULL,
            manifests TEXT NOT NULL,
            version BIGINT NOT NULL,
            created_at BIGINT NOT NULL,
            updated_at BIGINT NOT NULL,
            updated_by TEXT NOT NULL
        );
INSERT INTO "rotations" VALUES('rotations id 1','rotations subjects 1','rotations state 1','rotations manifests 1',1,1767323045000001,1767323045000001,'rotations updated_by 1');
INSERT INTO "rotations" VALUES('rotations id 2','rotations subjects 2','rotations state 2','rotations manifests 2',2,1767323045000002,1767323045000002,'rotations updated_by 2');
CREATE TABLE secrets (
            name TEXT PRIMARY KEY,
            version BIGINT NOT NULL,
            wrapped BYTEA NOT NULL
        );
INSERT INTO "secrets" VALUES('fleet-ca',1,X'7772617070656420666C6565742D6361');
INSERT INTO "secrets" VALUES('root',1,X'7772617070656420726F6F74');
CREATE TABLE settings (
            id TEXT PRIMARY KEY,
            value TEXT NOT NULL,
            version BIGINT NOT NULL,
            created_at BIGINT NOT NULL,
            updated_at BIGINT NOT NULL,
            updated_by TEXT NOT NULL
        );
INSERT INTO "settings" VALUES('settings id 1','settings value 1',1,1767323045000001,1767323045000001,'settings updated_by 1');
INSERT INTO "settings" VALUES('settings id 2','settings value 2',2,1767323045000002,1767323045000002,'settings updated_by 2');
CREATE TABLE sink_cursors (
    sink_id TEXT NOT NULL REFERENCES sinks (id) ON DELETE CASCADE,
    source TEXT NOT NULL,
    sequence BIGINT NOT NULL,
    mark BIGINT NOT NULL,
    PRIMARY KEY (sink_id, source)
);
INSERT INTO "sink_cursors" VALUES('sinks id 1','sink_cursors source 1',1,1);
INSERT INTO "sink_cursors" VALUES('sinks id 2','sink_cursors source 2',2,2);
CREATE TABLE sink_health (
    sink_id TEXT PRIMARY KEY REFERENCES sinks (id) ON DELETE CASCADE,
    sent_at BIGINT,
    failing_since_at BIGINT,
    error TEXT NOT NULL
);
INSERT INTO "sink_health" VALUES('sinks id 1',1767323045000001,1767323045000001,'sink_health error 1');
INSERT INTO "sink_health" VALUES('sinks id 2',1767323045000002,1767323045000002,'sink_health error 2');
CREATE TABLE sinks (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    url TEXT NOT NULL,
    sources TEXT NOT NULL,
    header_names TEXT NOT NULL,
    headers BYTEA,
    ca TEXT,
    state TEXT NOT NULL,
    version BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    updated_by TEXT NOT NULL
);
INSERT INTO "sinks" VALUES('sinks id 1','sinks name 1','sinks kind 1','sinks url 1','sinks sources 1','sinks header_names 1',X'73696E6B7320686561646572732031','sinks ca 1','sinks state 1',1,1767323045000001,1767323045000001,'sinks updated_by 1');
INSERT INTO "sinks" VALUES('sinks id 2','sinks name 2','sinks kind 2','sinks url 2','sinks sources 2','sinks header_names 2',X'73696E6B7320686561646572732032','sinks ca 2','sinks state 2',2,1767323045000002,1767323045000002,'sinks updated_by 2');
CREATE TABLE tickets (
            id TEXT PRIMARY KEY,
            device_name TEXT NOT NULL,
            user_id TEXT REFERENCES users (id),
            psk BYTEA NOT NULL,
            proof BYTEA NOT NULL,
            expires_at BIGINT NOT NULL,
            created_by TEXT NOT NULL,
            used_at BIGINT,
            used_keys BYTEA,
            device_id TEXT REFERENCES devices (id),
            withdrawn_at BIGINT,
            version BIGINT NOT NULL DEFAULT 1,
            created_at BIGINT NOT NULL,
            updated_at BIGINT NOT NULL,
            updated_by TEXT NOT NULL
        );
INSERT INTO "tickets" VALUES('0001020304050607','Ada''s phone',NULL,X'777261707065642070736B',X'5050505050505050505050505050505050505050505050505050505050505050',1767323945000000,'operator',1767323045000003,X'4B4B4B4B4B4B4B4B4B4B4B4B4B4B4B4B4B4B4B4B4B4B4B4B4B4B4B4B4B4B4B4B','019b7c12-0000-7000-8000-000000000010',NULL,1,1767323045000000,1767323045000000,'operator');
INSERT INTO "tickets" VALUES('08090a0b0c0d0e0f','tablet',NULL,X'777261707065642070736B2032',X'5151515151515151515151515151515151515151515151515151515151515151',1767323945000000,'operator',NULL,NULL,NULL,NULL,1,1767323045000000,1767323045000000,'operator');
CREATE TABLE tokens (
            id TEXT PRIMARY KEY,
            name TEXT NOT NULL UNIQUE,
            hash BYTEA NOT NULL UNIQUE,
            admin_id TEXT NOT NULL REFERENCES admins (id),
            role TEXT NOT NULL,
            scopes TEXT NOT NULL,
            state TEXT NOT NULL,
            expires_at BIGINT,
            used_at BIGINT,
            version BIGINT NOT NULL,
            created_at BIGINT NOT NULL,
            updated_at BIGINT NOT NULL,
            updated_by TEXT NOT NULL
        );
INSERT INTO "tokens" VALUES('019b7c12-0000-7000-8000-000000000023','robot',X'5454545454545454545454545454545454545454545454545454545454545454','019b7c12-0000-7000-8000-000000000022','viewer','[]','active',NULL,NULL,1,1767323045000000,1767323045000000,'operator');
CREATE TABLE user_credentials (
    user_id TEXT PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    passphrase TEXT NOT NULL,
    updated_at BIGINT NOT NULL
);
INSERT INTO "user_credentials" VALUES('019b7c12-0000-7000-8000-000000000020','user_credentials passphrase 1',1767323045000001);
CREATE TABLE users (
            id TEXT PRIMARY KEY,
            name TEXT NOT NULL UNIQUE,
            email TEXT UNIQUE,
            state TEXT NOT NULL,
            note TEXT NOT NULL,
            expires_at BIGINT,
            device_limit BIGINT,
            quota_bytes BIGINT,
            quota_period TEXT NOT NULL,
            quota_action TEXT NOT NULL,
            version BIGINT NOT NULL,
            created_at BIGINT NOT NULL,
            updated_at BIGINT NOT NULL,
            updated_by TEXT NOT NULL
        );
INSERT INTO "users" VALUES('019b7c12-0000-7000-8000-000000000020','Ada','ada@example.org','active','has two telephones',NULL,NULL,10000000000,'month','warn',2,1767323045000000,1767323045000000,'operator');
CREATE UNIQUE INDEX "idx__sqlite_migrations_migration_set_name"
    ON "_sqlite_migrations" ("migration_set", "name");
CREATE INDEX group_members_by_user ON group_members (user_id);
CREATE INDEX admin_sessions_by_admin ON admin_sessions (admin_id);
CREATE INDEX audit_by_subject ON audit (subject, sequence);
CREATE INDEX audit_by_actor ON audit (actor, sequence);
CREATE INDEX audit_by_verb ON audit (verb, sequence);
CREATE INDEX audit_by_noun ON audit (noun, sequence);
CREATE INDEX idempotency_by_age ON idempotency (at);
CREATE VIEW profiles AS SELECT
            bundles.device_id AS id, devices.name AS name, bundles.epoch AS epoch, bundles.revision AS revision,
            LENGTH(bundles.sealed) AS size, bundles.profile_hash AS hash,
            CASE WHEN bundles.epoch = fleet.epoch AND checked_revision >= profiles_revision
                AND held_epoch = bundles.epoch AND held_revision = bundles.revision
                THEN 'synced' ELSE 'stale' END AS state,
            sealed_at, synced_at, bundles.revision AS version, sealed_at AS created_at, sealed_at AS updated_at,
            'helm' AS updated_by
            FROM bundles JOIN devices ON devices.id = bundles.device_id CROSS JOIN fleet;
CREATE INDEX users_by_name ON users (name, id);
CREATE INDEX groups_by_name ON groups (name, id);
CREATE INDEX nodes_by_name ON nodes (name, id);
CREATE INDEX relays_by_name ON relays (name, id);
CREATE INDEX devices_by_name ON devices (name, id);
CREATE INDEX admins_by_name ON admins (name, id);
CREATE INDEX tokens_by_name ON tokens (name, id);
CREATE INDEX pools_by_name ON pools (name, id);
CREATE INDEX users_by_state ON users (state, created_at, id);
CREATE INDEX nodes_by_state ON nodes (state, created_at, id);
CREATE INDEX relays_by_state ON relays (state, created_at, id);
CREATE INDEX devices_by_state ON devices (state, created_at, id);
CREATE INDEX alerts_by_state ON alerts (state, created_at, id);
CREATE INDEX certificates_by_state ON certificates (state, created_at, id);
CREATE INDEX users_by_age ON users (created_at, id);
CREATE INDEX groups_by_age ON groups (created_at, id);
CREATE INDEX nodes_by_age ON nodes (created_at, id);
CREATE INDEX relays_by_age ON relays (created_at, id);
CREATE INDEX devices_by_age ON devices (created_at, id);
CREATE INDEX alerts_by_age ON alerts (created_at, id);
CREATE INDEX tickets_by_age ON tickets (created_at, id);
CREATE INDEX certificates_by_age ON certificates (created_at, id);
CREATE INDEX tokens_by_age ON tokens (created_at, id);
CREATE INDEX devices_by_user ON devices (user_id, created_at, id);
CREATE INDEX devices_by_state_and_name ON devices (state, name, id);
CREATE INDEX alerts_by_subject ON alerts (subject, kind);
CREATE INDEX certificates_by_subject ON certificates (subject, not_after_at);
CREATE INDEX bundles_by_age ON bundles (sealed_at, device_id);
CREATE INDEX certificates_by_end ON certificates (not_after_at, id);
CREATE INDEX rotation_members_by_waiting ON rotation_members (rotation_id, waiting);
CREATE INDEX pairs_by_node ON pairs (node_id, device_id);
CREATE INDEX reissues_by_node ON reissues (node_id, state);
CREATE INDEX adoptions_by_state ON adoptions (state, created_at, id);
CREATE INDEX device_certificates_by_device ON device_certificates (device_id, not_after);
CREATE INDEX device_certificates_by_key ON device_certificates (spki);
CREATE INDEX passkeys_by_admin ON passkeys (admin_id, created_at, id);
CREATE INDEX admin_identities_by_admin ON admin_identities (admin_id)
;
CREATE INDEX admin_devices_by_admin ON admin_devices (admin_id, device_id)
;
CREATE INDEX users_by_email ON users (LOWER(email))
;
CREATE INDEX alert_targets_by_name ON alert_targets (name, id);
CREATE INDEX alert_targets_by_age ON alert_targets (created_at, id);
CREATE INDEX alert_deliveries_by_end ON alert_deliveries (done_at, id);
CREATE INDEX alert_deliveries_by_alert ON alert_deliveries (alert_id, target_id);
CREATE INDEX alert_deliveries_by_target ON alert_deliveries (target_id, done_at);
CREATE INDEX alert_mutes_by_age ON alert_mutes (created_at, id);
CREATE INDEX sinks_by_name ON sinks (name, id);
CREATE INDEX sinks_by_age ON sinks (created_at, id);
CREATE INDEX onboardings_by_name ON onboardings (name, id);
CREATE INDEX onboardings_by_state ON onboardings (state, created_at, id);
CREATE INDEX onboardings_by_age ON onboardings (created_at, id)
;
CREATE INDEX bundles_in_brief ON bundles
    (device_id, epoch, revision, held_epoch, held_revision, checked_revision, behind_at, sealed_at, synced_at)
;
COMMIT;
