"""Today's protos keep what every frozen version was promised: a fleet is upgraded machine by machine."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet

import pharos
from tests import freeze_wire
from tests.support import wireversions
from tests.support.wireversions import Vocabulary, broken_promises, frozen, frozen_versions, todays, without

VERSIONS = frozen_versions()
CONTROL = "pharos/wire/gen/pharos/buoy/v1/control.proto"


def test_version_of_today_is_frozen_with_its_release() -> None:
    """A release is the moment from which somebody runs it, and the version before it is the one that has to be met."""
    today = tuple(map(int, pharos.__version__.split(".")[:2]))
    assert max(tuple(map(int, version[1:].split("_"))) for version in VERSIONS) == today


@pytest.mark.parametrize("version", VERSIONS)
def test_todays_protos_keep_what_was_promised(version: str) -> None:
    assert broken_promises(frozen(version), todays()) == []


def control(files: FileDescriptorSet) -> FileDescriptorProto:
    (file,) = (file for file in files.file if file.name == CONTROL)
    return file


def message(file: FileDescriptorProto, name: str) -> DescriptorProto:
    (found,) = (message for message in file.message_type if message.name == name)
    return found


def renumber(file: FileDescriptorProto) -> None:
    field = message(file, "Fence").field[2]
    field.number = 4


def reuse(file: FileDescriptorProto) -> None:
    message(file, "Fence").field[2].name = "colour"


def retype(file: FileDescriptorProto) -> None:
    message(file, "Fence").field[0].type = FieldDescriptorProto.TYPE_SINT64


def repeat(file: FileDescriptorProto) -> None:
    message(file, "Fence").field[0].label = FieldDescriptorProto.LABEL_REPEATED


def choose(file: FileDescriptorProto) -> None:
    event = message(file, "Event")
    event.field[1].oneof_index = 0


def forget_message(file: FileDescriptorProto) -> None:
    file.message_type.remove(message(file, "EventGap"))


def forget_method(file: FileDescriptorProto) -> None:
    del file.service[0].method[0]


def stream(file: FileDescriptorProto) -> None:
    file.service[0].method[0].server_streaming = True


BREAKS: list[tuple[Callable[[FileDescriptorProto], None], str]] = [
    (renumber, "field 3 (revision) is gone and its number is not reserved"),
    (reuse, "number 3 was revision and is colour"),
    (retype, "pharos.buoy.v1.Fence: field 1 (epoch) was"),
    (repeat, "pharos.buoy.v1.Fence: field 1 (epoch) was"),
    (choose, "pharos.buoy.v1.Event: field 2 (at_us) was"),
    (forget_message, "message pharos.buoy.v1.EventGap is gone"),
    (forget_method, "method pharos.buoy.v1.Control/Status is gone"),
    (stream, "method pharos.buoy.v1.Control/Status takes or gives something else"),
]


@pytest.mark.parametrize(("change", "said"), BREAKS, ids=[change.__name__ for change, _ in BREAKS])
def test_change_that_breaks_a_promise_is_named(change: Callable[[FileDescriptorProto], None], said: str) -> None:
    new = todays()
    change(control(new))
    (broken,) = broken_promises(todays(), new)
    assert said in broken


def test_removed_value_of_an_enum_is_named_and_so_is_a_renamed_one() -> None:
    new = todays()
    (enum,) = (
        e for file in new.file for m in file.message_type for e in m.enum_type if m.name == "HealthCheckResponse"
    )
    enum.value[1].name = "WELL"
    del enum.value[3]
    assert broken_promises(todays(), new) == [
        "enum grpc.health.v1.HealthCheckResponse.ServingStatus: 1 was SERVING, and is WELL",
        "enum grpc.health.v1.HealthCheckResponse.ServingStatus: 3 was SERVICE_UNKNOWN, and is gone",
    ]


def test_field_may_go_if_its_number_stays_reserved_for_ever() -> None:
    newer, newest = todays(), todays()
    for files in (newer, newest):
        fence = message(control(files), "Fence")
        fence.reserved_range.add(start=3, end=4)
    fence = message(control(newer), "Fence")
    fence.field.remove(fence.field[2])
    assert broken_promises(todays(), newer) == []
    assert broken_promises(newer, newest) == ["pharos.buoy.v1.Fence: field 3 (revision) has a number that was reserved"]


def test_new_fields_messages_and_methods_break_nothing() -> None:
    new = todays()
    file = control(new)
    for each in file.message_type:
        each.field.add(name="later", number=1000, type=FieldDescriptorProto.TYPE_STRING, label=1)
    file.message_type.add(name="Later")
    file.service[0].method.add(name="Later", input_type=".pharos.buoy.v1.Later", output_type=".pharos.buoy.v1.Later")
    assert broken_promises(todays(), new) == []


@pytest.mark.parametrize("version", VERSIONS)
def test_old_program_hands_on_what_it_does_not_know(version: str) -> None:
    newer = todays()
    for file in newer.file:
        for each in file.message_type:
            each.field.add(name="later", number=1000, type=FieldDescriptorProto.TYPE_STRING, label=1)
    old, new = Vocabulary(frozen(version)), Vocabulary(newer)
    top = [name for name in old.names if name.count(".") == 3]
    assert len(top) > 60
    for name in top:
        said = new.class_of(name)(later="of tomorrow")
        through = old.class_of(name).FromString(said.SerializeToString())
        assert not through.DESCRIPTOR.fields_by_name.get("later")
        assert new.class_of(name).FromString(through.SerializeToString()) == said
        assert old.without_the_unknown(said) == b""


def test_older_version_knows_less() -> None:
    old = Vocabulary(without(todays(), "pharos.buoy.v1.Fence.revision", "pharos.buoy.v1.Control/Restart"))
    fence = Vocabulary(todays()).class_of("pharos.buoy.v1.Fence")(epoch=1, revision=3)
    assert old.without_the_unknown(fence) == fence.__class__(epoch=1).SerializeToString()
    assert old.knows("/pharos.buoy.v1.Control/Status")
    assert not old.knows("/pharos.buoy.v1.Control/Restart")


def test_what_is_frozen_stays_and_a_broken_promise_is_not_frozen(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path_factory.mktemp("tests") / "wire" / "descriptors"
    folder.mkdir(parents=True)
    for module in (wireversions, freeze_wire):
        monkeypatch.setattr(module, "FOLDER", folder)
    assert freeze_wire.main(["0.9"]) == 0
    assert frozen("v0_9") == todays()
    assert freeze_wire.main(["0.9"]) == 1
    path = folder / "v0_9" / "pharos.buoy.v1.control.binpb"
    files = FileDescriptorSet.FromString(path.read_bytes())
    message(files.file[0], "Fence").field[0].name = "era"
    path.write_bytes(files.SerializeToString())
    assert freeze_wire.main(["0.10"]) == 1
    assert "number 1 was era and is epoch" in capsys.readouterr().err
    assert not (folder / "v0_10").exists()
    assert freeze_wire.main(["next"]) == 2
