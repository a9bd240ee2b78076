"""What a record knows of its recovery kit."""

from __future__ import annotations

import pytest

from pharos.helm.ca.kit import KIT_KEY, data_key_of, kit_key_of, learn_kit
from pharos.helm.ca.vault import RecoveryKit
from pharos.helm.errors import BackupError, InvalidRequestError
from tests.support.restore import VAULT, opened, story


def test_new_fleet_knows_the_public_key_of_its_kit_and_nothing_else_of_it() -> None:
    with story() as told:
        assert kit_key_of(told.db, VAULT) == bytes(told.kit.sealing_key().public_key)
        assert bytes(told.kit.sealing_key()) not in told.backup
        assert data_key_of(told.db, told.kit) == bytes(32)


def test_older_fleet_learns_its_own_kit_only() -> None:
    with story() as told, opened(told.backup) as db:
        db.execute("DELETE FROM secrets WHERE name = ?", (KIT_KEY,))
        with pytest.raises(BackupError, match="--kit -"):
            kit_key_of(db, VAULT)
        with pytest.raises(InvalidRequestError, match="another fleet's"):
            learn_kit(db, VAULT, RecoveryKit.create())
        learn_kit(db, VAULT, told.kit)
        learn_kit(db, VAULT, told.kit)
        assert kit_key_of(db, VAULT) == bytes(told.kit.sealing_key().public_key)
