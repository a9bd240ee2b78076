"""What the record itself says: clocks, certificates, backups, what a restore left to decide."""

from __future__ import annotations

import datetime
import sqlite3
from typing import Final

from cryptography import x509

from pharos.helm.ca.kit import ROOT
from pharos.helm.model.certificates import Certificate, CertificateState
from pharos.helm.model.fleet import Fleet
from pharos.helm.model.nodes import NodeState
from pharos.helm.store.adoptions import must_be_read
from pharos.helm.store.certificates import CERTIFICATES
from pharos.helm.store.checkpoints import latest_checkpoint
from pharos.helm.store.exported import exported_devices
from pharos.helm.store.nodes import list_nodes
from pharos.helm.store.relays import list_relays
from pharos.helm.store.settings import setting
from pharos.helm.store.times import moment
from pharos.wire.findings import Finding, age_of, note, ok, problem
from pharos.wire.pki.clockfloor import ClockFloor
from pharos.wire.pki.keys import certificate_from_der
from pharos.wire.pki.renewal import RENEW_AT
from pharos.wire.pki.roles import Role

# What a month of changes is worth is more than a stick and a minute.
BACKUP_LATE: Final = datetime.timedelta(days=30)
BACKUP_DUE: Final = datetime.timedelta(days=7)
# A line of a terminal.
_MOST_NAMES: Final = 5
# Members renew by themselves from two thirds of a certificate's life on; who has not by now has not been heard of.
RENEWAL_LATE: Final = 5 / 6


def check_clock(db: sqlite3.Connection, fleet: Fleet, now: datetime.datetime) -> Finding:
    """Compare the clock with what the fleet has signed: no time before that can be now."""
    floor = ClockFloor()
    for der in (fleet.root, fleet.fleet_ca, fleet.device_ca, fleet.controller):
        floor.see_certificate(certificate_from_der(der))
    newest = db.execute("SELECT MAX(not_before_at) FROM certificates").fetchone()[0]
    checkpoint = latest_checkpoint(db)
    for at in (newest, None if checkpoint is None else checkpoint.at):
        if at is not None:
            floor.see_signature(moment(at))
    behind = floor.behind(now)
    if behind:
        return problem(
            "clock",
            f"The clock is at {now:%Y-%m-%d %H:%M} UTC, and the fleet signed something {behind} later.",
            "Set the clock (timedatectl set-ntp true). Until then certificates are made that end too early.",
        )
    return ok("clock", f"The clock is at {now:%Y-%m-%d %H:%M} UTC, after all that the fleet has signed.")


def check_authorities(fleet: Fleet, now: datetime.datetime) -> list[Finding]:
    """Look at the root, both authorities and helm's own certificate."""
    renews = "Nothing: helm renews it by itself while it runs."
    rotate = "Take the recovery kit and rotate it: helm ca rotate"
    return [
        _check_dates("certificate:root", "The root certificate", certificate_from_der(fleet.root), now, rotate, rotate),
        _check_dates("certificate:fleet-ca", "The Fleet CA", certificate_from_der(fleet.fleet_ca), now, rotate, rotate),
        _check_dates(
            "certificate:device-ca", "The Device CA", certificate_from_der(fleet.device_ca), now, rotate, rotate
        ),
        _check_dates(
            "certificate:helm",
            "helm's own certificate",
            certificate_from_der(fleet.controller),
            now,
            renews,
            "Start helm, which renews it: helm run",
        ),
    ]


def check_members(db: sqlite3.Connection, now: datetime.datetime) -> list[Finding]:
    """Look at the certificates of nodes, relays and devices; one finding for all that are well."""
    names: dict[str, str] = {node.id: node.name for node in list_nodes(db)}
    names |= {relay.id: relay.name for relay in list_relays(db)}
    findings, well, ended_devices = [], 0, 0
    rows = db.execute(
        f"SELECT {CERTIFICATES.all_columns} FROM certificates WHERE state = ? AND role <> ? ORDER BY not_after_at",  # noqa: S608
        (CertificateState.ACTIVE.value, Role.CONTROLLER.value),
    )
    for certificate in map(CERTIFICATES.load, rows):
        if certificate.role == Role.DEVICE.value:
            ended_devices += moment(certificate.not_after_at) < now
            continue
        finding = _check_member(certificate, names.get(certificate.subject, certificate.subject), now)
        findings += [] if finding is None else [finding]
        well += finding is None
    if ended_devices:
        says = f"The certificates of {ended_devices} devices have ended: their tunnels work, and they cannot sync."
        findings.append(note("certificates:devices", says, "Invite those that are still used: helm devices invite"))
    if well:
        findings.append(ok("certificates", f"The certificates of {well} nodes and relays are not due."))
    return findings


def check_backups(db: sqlite3.Connection, fleet: Fleet, now: datetime.datetime) -> Finding:
    """Look when the record was last backed up."""
    at = db.execute("SELECT backed_up_at FROM fleet").fetchone()[0]
    age = now - moment(fleet.created_at if at is None else at)
    says = "There is no backup yet." if at is None else f"The last backup is {age_of(age.total_seconds())} old."
    todo = "helm backup --to /media/stick, or by a timer: see docs/guide/backup.md"
    if age > BACKUP_LATE:
        return problem("backup", says, todo)
    return note("backup", says, todo) if at is None or age > BACKUP_DUE else ok("backup", says)


def check_root(db: sqlite3.Connection) -> list[Finding]:
    """Look whether the root's key is here, which a backup leaves out unless it is told otherwise."""
    if db.execute("SELECT 1 FROM secrets WHERE name = ?", (ROOT,)).fetchone() is not None:
        return []
    says = "The root's key is not in this record: the fleet runs, and its authorities cannot be rotated."
    return [note("root", says, "For a rotation restore a backup that was made --with-root.")]


def check_restore(db: sqlite3.Connection) -> list[Finding]:
    """Look at what a restore left to do."""
    findings = []
    unread = [node.name for node in list_nodes(db) if must_be_read(db, node.id)]
    if unread:
        says = f"Restored from a backup; {', '.join(sorted(unread))} not yet read since, and told nothing until then."
        findings.append(note("restore", says, "Let helm run until each node was reached; revoke those that are gone."))
    waiting: int = db.execute("SELECT COUNT(DISTINCT device_id) FROM adoptions WHERE state = 'waiting'").fetchone()[0]
    if waiting:
        says = f"{waiting} devices came after the backup; their tunnels go on, and the record does not know them."
        findings.append(note("adoptions", says, "Decide: helm adoptions list, then adopt or refuse each."))
    return findings


def check_rotation(db: sqlite3.Connection) -> list[Finding]:
    """Look whether every node has a place for its old parameters, where endpoints rotate."""
    if not setting(db, "endpoints.rotate"):
        return []
    return [
        note(
            f"rotation:{node.name}",
            f"Node {node.name} has no spare port: its endpoints do not rotate.",
            f"Give it one, and let it through its firewall: helm nodes spare {node.name} 2053",
        )
        for node in list_nodes(db)
        if node.state is NodeState.ACTIVE and not node.spare_ports
    ]


def check_exported(db: sqlite3.Connection) -> list[Finding]:
    """Look whether the files of exported devices hold: nobody tells the apps that have them."""
    outdated = [device.name for device in exported_devices(db) if device.outdated_at is not None]
    if not outdated:
        return []
    shown = ", ".join(outdated[:_MOST_NAMES]) + (" …" if len(outdated) > _MOST_NAMES else "")
    says = f"What {len(outdated)} exported devices were given is outdated: {shown}."
    return [note("exported", says, "Make new ones on the page, hand the files over, and revoke the old devices.")]


def check_alerts(db: sqlite3.Connection) -> list[Finding]:
    """Look at the alerts that stand."""
    rows = db.execute(
        "SELECT id, kind, severity, text FROM alerts WHERE state <> 'resolved' ORDER BY created_at LIMIT 50"
    )
    todo = "See to its cause; then: helm alerts list"
    return [
        (problem if row["severity"] == "critical" else note)(f"alert:{row['kind']}", _sentence(row["text"]), todo)
        for row in rows
    ]


def _check_member(certificate: Certificate, name: str, now: datetime.datetime) -> Finding | None:
    id_, what = f"certificate:{name}", f"The certificate of {certificate.role} {name}"
    end = moment(certificate.not_after_at)
    if end < now:
        noun, agent = ("relays", "beacon") if certificate.role == Role.RELAY.value else ("nodes", "buoy")
        todo = (
            f"There: {agent} csr > request.json; here: helm {noun} readopt {name} --request request.json > grant.json"
        )
        return problem(id_, f"{what} ended on {end:%Y-%m-%d}.", todo)
    lived = (now - moment(certificate.not_before_at)) / (end - moment(certificate.not_before_at))
    if lived > RENEWAL_LATE:
        todo = "It renews when helm reaches it: start the machine, or see why it does not answer."
        return note(id_, f"{what} ends on {end:%Y-%m-%d} and was not renewed.", todo)
    return None


def _check_dates(
    id_: str, what: str, certificate: x509.Certificate, now: datetime.datetime, due: str, ended: str
) -> Finding:
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now >= end:
        return problem(id_, f"{what} ended on {end:%Y-%m-%d}.", ended)
    if now >= begin + (end - begin) * RENEW_AT:
        return note(id_, f"{what} ends on {end:%Y-%m-%d}.", due)
    return ok(id_, f"{what} is good until {end:%Y-%m-%d}.")


def _sentence(text: str) -> str:
    return text if text.endswith(".") else f"{text}."
