"""What is sealed for one device, the links it joins by, and secrets helm never sees; docs/protocols/seal.md."""
