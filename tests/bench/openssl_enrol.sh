#!/usr/bin/env bash
# The shell loop that people write: openssl_enrol.sh AUTHORITY KIND COUNT. Keys, requests, certificates, bundles.
set -euo pipefail
authority=$1 kind=$2 count=$3
out=$(mktemp -d "$authority/loop.XXXXXX")
printf 'extendedKeyUsage=clientAuth\nbasicConstraints=critical,CA:false\nsubjectAltName=email:client@example.org\n' >"$out/ext"
new_key=(-newkey ec -pkeyopt ec_paramgen_curve:P-256)
[ "$kind" = rsa ] && new_key=(-newkey rsa:2048)
for index in $(seq "$count"); do
    openssl req -new "${new_key[@]}" -nodes -keyout "$out/$index.key" -out "$out/$index.csr" -subj "/CN=Client $index"
    openssl ca -batch -notext -config "$authority/openssl.cnf" -extfile "$out/ext" -in "$out/$index.csr" -out "$out/$index.crt" \
        -days 365
    openssl pkcs12 -export -inkey "$out/$index.key" -in "$out/$index.crt" -certfile "$authority/certs/ca.cert.pem" \
        -out "$out/$index.p12" -passout pass:bench
done
