"""The passage: a device's end-to-end session with helm through a beacon; docs/protocols/passage.md."""
