"""Write every snapshot anew: ``python -m tests.update_snapshots``; then read the difference before you commit it."""

from tests.support.snapshots import all_snapshots


def main() -> None:
    """Write what has changed, and name it."""
    for snapshot in all_snapshots():
        text = snapshot.render()
        if snapshot.path.exists() and snapshot.path.read_text(encoding="utf-8") == text:
            continue
        snapshot.path.parent.mkdir(exist_ok=True)
        snapshot.path.write_text(text, encoding="utf-8")
        print(f"written: {snapshot.name}")


if __name__ == "__main__":
    main()
