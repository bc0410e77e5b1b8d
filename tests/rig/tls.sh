#!/usr/bin/env bash
# tls.sh DIR: a certificate authority (ca.pem) and a server certificate of it for localhost (srv.pem, srv.key), 30 days.
set -euo pipefail
mkdir -p "$1" && cd "$1"
quiet() { "$@" 2>openssl.log || { cat openssl.log >&2; exit 1; }; }
quiet openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=rig-ca -keyout ca.key -out ca.pem \
  -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign
quiet openssl req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout srv.key -out srv.csr
printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth' >srv.ext
quiet openssl x509 -req -in srv.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -out srv.pem -extfile srv.ext
chmod 644 srv.key
