/** 256 words, one an octet, as `pharos.wire.seal.words` has them. Their order is what they mean: none may ever move. */
export default `
  acid acorn actor adobe agent album alley amber angle apple apron arena arrow atlas audio autumn bacon badge
  baker bamboo banjo barrel basin beach beetle bell bench berry bicycle bishop blanket blossom boat bonus
  bottle branch bread brick broom bubble bucket butter cabin cactus camel candle canoe carbon carpet castle
  cedar cello chalk cherry chess chimney circus citrus clay cliff clock cloud coast cobra coffee comet copper
  coral cotton cousin cradle crane cricket crystal dairy daisy dance desert diamond dinner doctor dolphin
  donkey dragon drum eagle earth echo elbow ember engine envelope falcon feather fern ferry fiddle finger flame
  flute forest fossil fountain fox frost galaxy garden garlic gentle giant ginger glacier glove goat gravel
  guitar hammer harbor hazel helmet heron hockey honey horse ice igloo ink iris iron island ivory jacket jaguar
  jasmine jelly jewel jigsaw jungle kayak kettle kitten koala ladder lagoon lamp lantern laurel leaf lemon
  leopard lilac lion lizard lobster lotus lunar magnet mango maple marble meadow melon mirror mitten monkey
  moon moss mountain museum napkin nebula needle nickel north nutmeg oak oasis ocean olive onion opera orange
  orchid otter oyster paddle palace panda paper parrot peanut pebble pelican pepper piano pigeon pilot planet
  plum pocket polar pony potato prism pumpkin puzzle quartz quilt rabbit radio raven ribbon river robin rocket
  rubber ruby saddle salmon sandal satin scarf shadow silver sketch spider sponge spruce statue sugar sunset
  swan table tango teapot temple thunder tiger timber tomato topaz tulip tunnel turtle velvet violin volcano
  walnut water whale willow window winter wizard yellow zebra
`
  .trim()
  .split(/\s+/) as readonly string[]
