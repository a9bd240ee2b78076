import itertools

import pytest

from pharos.wire.errors import LocalProtocolError, RemoteProtocolError
from pharos.wire.passage.epochs import DEVICE_TRANSITIONS, HELM_TRANSITIONS, Epochs, Input, State

PEERS = {Input.RECEIVE_DATA, Input.RECEIVE_END}


@pytest.mark.parametrize("device", [True, False])
@pytest.mark.parametrize(("state", "given"), list(itertools.product(State, Input)))
def test_every_input_in_every_state_moves_it_or_is_somebodys_fault(device: bool, state: State, given: Input) -> None:
    epochs = Epochs(device=device)
    epochs.state = state
    table = DEVICE_TRANSITIONS if device else HELM_TRANSITIONS
    if (state, given) in table:
        epochs.step(given)
        assert epochs.state is table[state, given]
    else:
        with pytest.raises(RemoteProtocolError if given in PEERS else LocalProtocolError):
            epochs.step(given)
        assert epochs.state is state


def test_only_the_device_begins() -> None:
    device, helm = Epochs(device=True), Epochs(device=False)
    with pytest.raises(LocalProtocolError):
        helm.step(Input.SEND_DATA)
    with pytest.raises(RemoteProtocolError):
        device.step(Input.RECEIVE_DATA)
    device.step(Input.SEND_DATA)
    helm.step(Input.RECEIVE_DATA)
    assert device.state is helm.state is State.OPEN


def test_ends_that_cross_make_one_end() -> None:
    device, helm = Epochs(device=True), Epochs(device=False)
    device.step(Input.SEND_DATA)
    helm.step(Input.RECEIVE_DATA)
    for side in (device, helm):
        side.step(Input.SEND_END)
    for side in (device, helm):
        side.step(Input.RECEIVE_END)
    assert device.state is helm.state is State.LIGHT
