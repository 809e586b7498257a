"""Which kind of file system holds a path."""

from pathlib import Path

import pytest

from worker import filesystems

MOUNTS = r"""22 1 0:50 / / rw,relatime - overlay overlay rw
30 22 254:1 / /srv rw shared:1 - ext4 /dev/vdb rw
31 30 0:40 / /srv/share rw - cifs //nas/share rw
32 30 254:2 / /srv/two\040words rw - xfs /dev/vdc rw
33 22 0:41 / /mnt rw - tmpfs tmpfs rw
34 33 254:3 / /mnt rw - ext4 /dev/vdd rw
nonsense
35 22
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/data", "overlay"),
        ("/srv", "ext4"),
        ("/srv/archive/x", "ext4"),
        ("/srvx", "overlay"),
        ("/srv/share/x", "cifs"),
        ("/srv/two words/x", "xfs"),
        ("/mnt/x", "ext4"),
    ],
)
def test_deepest_and_last_mount_holds_a_path(path: str, kind: str) -> None:
    """The longest mount point wins; of two on one point, the later hides the earlier."""
    assert filesystems.kind_at(Path(path), MOUNTS) == kind


def test_unknown_mounts_say_nothing() -> None:
    """Where the system doesn't tell, nothing is refused."""
    assert filesystems.kind_at(Path("/data"), "") is None
    assert filesystems.why_unsafe(Path("/data"), "") is None


def test_unsafe_kind_says_why() -> None:
    """The reason is for an operator to read."""
    why = filesystems.why_unsafe(Path("/no-such-folder/x"), MOUNTS)

    assert why == "is on overlay, which is lost with the container"


def test_links_are_followed(tmp_path: Path) -> None:
    """A link from a disk to a share lies on the share."""
    link = tmp_path / "link"
    link.symlink_to("/srv/share")

    assert "cifs" in (filesystems.why_unsafe(link / "queue.db", MOUNTS) or "")


def test_system_without_mountinfo_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """macOS has no /proc."""
    monkeypatch.setattr(filesystems, "MOUNTINFO", tmp_path / "missing")

    assert filesystems.read_mountinfo() == ""
