"""Takes packages out of a Debian base that nothing in it runs: they install and administer.

The files go, and with them what dpkg's database says of the package: scanners read it, and tell
what is wrong with the packages that are there. dpkg itself is not asked, since it refuses to
remove itself, and scripts of packages want programs that are gone by then.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from pathlib import Path

#: Shells and small programs to look around with stay, and every library that Python links.
UNUSED = (
    *("adduser", "apt", "debconf", "debian-archive-keyring", "dpkg", "gpgv", "sqv", "tar"),
    *("perl-base", "libperl*", "diffutils", "e2fsprogs", "logsave", "libext2fs*", "libss2*"),
    *("login", "login.defs", "passwd", "libpam-*", "libsemanage*", "libsepol*"),
    *("mount", "util-linux*", "bsdutils", "libblkid*", "libmount*", "libsmartcols*"),
    *("libapt-pkg*", "libdebconfclient*", "libgcrypt*", "libgmp*", "libgnutls*", "libhogweed*"),
    *("libidn2*", "libnettle*", "libp11-kit*", "libseccomp*", "libsystemd*", "libtasn1*"),
    *("libudev*", "libunistring*", "sysvinit-utils"),
)
_STATUS = "var/lib/dpkg/status"
_INFO = "var/lib/dpkg/info"
_NAME = re.compile(r"^Package: (\S+)$", re.MULTILINE)


def is_unused(name: str) -> bool:
    """Tell whether a package is taken out."""
    return any(fnmatchcase(name, pattern) for pattern in UNUSED)


def remove_packages(root: Path) -> list[str]:
    """Remove what is unused, and say which packages; none where there is no Debian."""
    status = root / _STATUS
    if not status.is_file():
        return []
    kept, removed = [], []
    for entry in status.read_text("utf-8").strip().split("\n\n"):
        match = _NAME.search(entry)
        if match and is_unused(match[1]):
            removed.append(match[1])
        else:
            kept.append(entry)
    for name in removed:
        _remove_files(root, name)
    status.write_text("\n\n".join(kept) + "\n", "utf-8")
    return removed


def _remove_files(root: Path, name: str) -> None:
    """Take a package's files away; folders are shared, and stay."""
    info = root / _INFO
    for own in [*info.glob(f"{name}.*"), *info.glob(f"{name}:*.*")]:
        if own.suffix == ".list":
            for line in own.read_text("utf-8").splitlines():
                path = root / line.lstrip("/")
                if not path.is_dir():  # such as /lib, which may be a link to a folder
                    path.unlink(missing_ok=True)
        own.unlink()
