"""SQL of the long lists: what orders them is read for every record, what their rows show for a hundred at most."""
