"""Safety words: what two people read to each other to see that the device on one screen is the one on the other.

Whoever came by a ticket's link first has a device with other keys, and so with other words. A fleet has words of its
own, by which one sees whose link one holds.
"""

from __future__ import annotations

import hashlib
from typing import Final

from pharos.wire.ids import DeviceId
from pharos.wire.seal.fields import length_prefixed

COUNT: Final = 6
"""Words: 48 bits, and whoever wants others to see the same has to make keys before he has seen any."""
FLEET_COUNT: Final = 8
"""Words: 64 bits, for a fleet's words are known to whoever would make keys until they have the same."""
_LABEL: Final = b"pharos/words/v1"
_FLEET_LABEL: Final = b"pharos/fleet-words/v1"

# Nouns of everyday that sound unlike each other; each is known by its first four letters. Never changed: both ends say
# the same only while both have the same list.
_LIST: Final = """
acid acorn actor adobe agent album alley amber angle apple apron arena arrow atlas audio autumn
bacon badge baker bamboo banjo barrel basin beach beetle bell bench berry bicycle bishop blanket blossom
boat bonus bottle branch bread brick broom bubble bucket butter cabin cactus camel candle canoe carbon
carpet castle cedar cello chalk cherry chess chimney circus citrus clay cliff clock cloud coast cobra
coffee comet copper coral cotton cousin cradle crane cricket crystal dairy daisy dance desert diamond dinner
doctor dolphin donkey dragon drum eagle earth echo elbow ember engine envelope falcon feather fern ferry
fiddle finger flame flute forest fossil fountain fox frost galaxy garden garlic gentle giant ginger glacier
glove goat gravel guitar hammer harbor hazel helmet heron hockey honey horse ice igloo ink iris
iron island ivory jacket jaguar jasmine jelly jewel jigsaw jungle kayak kettle kitten koala ladder lagoon
lamp lantern laurel leaf lemon leopard lilac lion lizard lobster lotus lunar magnet mango maple marble
meadow melon mirror mitten monkey moon moss mountain museum napkin nebula needle nickel north nutmeg oak
oasis ocean olive onion opera orange orchid otter oyster paddle palace panda paper parrot peanut pebble
pelican pepper piano pigeon pilot planet plum pocket polar pony potato prism pumpkin puzzle quartz quilt
rabbit radio raven ribbon river robin rocket rubber ruby saddle salmon sandal satin scarf shadow silver
sketch spider sponge spruce statue sugar sunset swan table tango teapot temple thunder tiger timber tomato
topaz tulip tunnel turtle velvet violin volcano walnut water whale willow window winter wizard yellow zebra
"""
WORDS: Final = tuple(_LIST.split())


def safety_words(device_id: DeviceId, sealing: bytes, derive: bytes, noise: bytes, awg: bytes) -> str:
    """Return the words of a device with these public keys, with blanks between them."""
    content = _LABEL + length_prefixed(device_id.encode(), sealing, derive, noise, awg)
    return " ".join(WORDS[octet] for octet in hashlib.sha256(content).digest()[:COUNT])


def fleet_words(root_hash: bytes) -> str:
    """Return the words of the fleet whose root key has this SHA-256, with blanks between them."""
    content = _FLEET_LABEL + length_prefixed(root_hash)
    return " ".join(WORDS[octet] for octet in hashlib.sha256(content).digest()[:FLEET_COUNT])
