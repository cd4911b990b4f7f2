#!/usr/bin/env bash
# easy-rsa 3: easyrsa_enrol.sh PKI KIND COUNT. Makes its own CA the first time.
set -euo pipefail
export EASYRSA_PKI=$1 EASYRSA_BATCH=1 EASYRSA_SILENT=1 EASYRSA_ALGO=ec EASYRSA_CURVE=prime256v1
easyrsa=/usr/share/easy-rsa/easyrsa
if [ ! -e "$EASYRSA_PKI/ca.crt" ]; then
    "$easyrsa" init-pki
    EASYRSA_REQ_CN="Bench CA" "$easyrsa" build-ca nopass
fi
[ "$2" = rsa ] && export EASYRSA_ALGO=rsa EASYRSA_KEY_SIZE=2048
for index in $(seq "$3"); do
    "$easyrsa" build-client-full "client-$$-$index" nopass
    "$easyrsa" --passout=pass:bench export-p12 "client-$$-$index"
done
