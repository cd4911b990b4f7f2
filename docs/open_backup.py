# Copyright (c) 2026 The quietdoor.mtls authors, GNU General Public License v3.0 or later (see LICENSE)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Open a backup of module ca_backup without the collection: python3 open_backup.py ARCHIVE NEW_DIRECTORY"""

import getpass
import hmac
import io
import json
import os
import struct
import sys
import tarfile

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

with open(sys.argv[1], "rb") as file:
    data = file.read()
preamble, header, mac, chunks = data[:52], data[:124], data[124:156], data[156:]
magic, version, log_n, r, p, salt, length = struct.unpack(">16sBBBB32sQ", data[:60])
if (magic, version, length) != (b"quietdoor backup", 1, len(chunks)):
    sys.exit(f"{sys.argv[1]} is not a whole archive of format 1.")
passphrase = getpass.getpass("Passphrase of the archive: ").encode()
keys = Scrypt(salt=salt, length=96, n=1 << log_n, r=r, p=p).derive(passphrase)
if not hmac.compare_digest(hmac.digest(keys[32:64], header, "sha256"), mac):
    sys.exit("The passphrase is wrong, or the header is damaged.")
parts = [chunks[start : start + 262160] for start in range(0, len(chunks), 262160)]  # 256 KiB, 16 bytes of tag
nonces = [(number << 8 | (number == len(parts) - 1)).to_bytes(12, "big") for number in range(len(parts))]
tar = io.BytesIO(b"".join(AESGCM(keys[:32]).decrypt(nonce, part, preamble) for nonce, part in zip(nonces, parts)))
with tarfile.open(fileobj=tar) as archive:
    contents = [archive.extractfile(member).read() for member in archive]
manifest, top = json.loads(contents[0]), sys.argv[2]
for path in sorted(manifest["directories"]):
    os.mkdir(os.path.join(top, path), 0o700)
for (path, mode, _size, _sha256), content in zip(manifest["files"], contents[1:]):
    with open(os.open(os.path.join(top, path), os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
for path, target in manifest["links"].items():
    os.symlink(target, os.path.join(top, path))
