"""What helm asks of a machine, with what every Debian and Ubuntu has from its first day: sh, awk, find, df, dpkg.

Each answer stands behind a line ``== NAME``, which a machine may forge: it lies about nobody but itself.
"""

from __future__ import annotations

from typing import Final

SECTION: Final = "== "

ABOUT: Final = r"""
section() { printf '\n== %s\n' "$1"; }
section os-release; head -c 8192 /etc/os-release
section arch; dpkg --print-architecture || uname -m
section python; /usr/bin/python3 --version
section free; for each in /usr /var /tmp; do printf '%s ' "$each"; df -P -k "$each" | awk 'NR == 2 { print $4 }'; done
section packages; dpkg-query -W -f '${Package} ${Version} ${db:Status-Status}\n' 'pharos-*'
roots=$1; shift
section root
if test "$(id -u)" = 0; then echo root; sh -c "$roots"
elif ! command -v sudo > /dev/null; then echo none
elif answers=$("$@" "$roots"); then printf 'sudo\n%s\n' "$answers"
else echo password
fi
exit 0
"""
"""For anybody, given ``ROOTS`` and the words that run it as root if sudo asks for no password: once there and back.

What fails leaves its section empty: python3 and the packages need not be there.
"""

ROOTS: Final = r"""
section() { printf '\n== %s\n' "$1"; }
name() { read -r name < "/proc/$1/comm" && printf '%s\n' "$name"; }

# proc(5): state 0A listens, and a UDP socket in state 07 has no peer; the tenth column is the socket's inode.
sockets=$(for each in tcp tcp6 udp udp6; do
    test -r "/proc/net/$each" && awk -v kind="$each" '
        NR > 1 && $4 == (kind ~ /^tcp/ ? "0A" : "07") {
            split($2, local, ":"); print substr(kind, 1, 3), local[2], "socket:[" $10 "]"
        }' "/proc/net/$each"
done | sort -u)
section listeners; printf '%s\n' "$sockets"
section holders
find /proc/[0-9]*/fd -lname 'socket:*' -printf '%h %l\n' | awk -v sockets="$sockets" '
    BEGIN { count = split(sockets, words, /[ \n]/); for (i = 3; i <= count; i += 3) wanted[words[i]] = 1 }
    $2 in wanted { split($1, path, "/"); print path[3], $2 }
' | sort -u | while read -r pid socket; do printf '%s ' "$socket"; name "$pid"; done

# Who has one of the files open, and a lock on some file: apt and dpkg lock with fcntl(2).
section locks
find /proc/[0-9]*/fd '(' -lname /var/lib/dpkg/lock -o -lname /var/lib/dpkg/lock-frontend \
    -o -lname /var/lib/apt/lists/lock -o -lname /var/cache/apt/archives/lock ')' -printf '%h\n' |
    sort -u | while IFS=/ read -r _ _ pid _; do
        awk -v pid="$pid" '$2 == "POSIX" && $5 == pid { found = 1 } END { exit !found }' /proc/locks &&
            printf '%s ' "$pid" && name "$pid"
    done
exit 0
"""
"""For root, who alone sees whose a socket is."""
