#!/usr/bin/env bash
# pg.sh DIR PORT: a private PostgreSQL on loopback, in the foreground; DIR keeps its data, so a second start is a restart.
# It also speaks TLS when RIG_TLS names a folder where tls.sh ran.
# PostgreSQL refuses to run as root: then it runs as user postgres, who must be able to reach DIR.
set -euo pipefail
dir=$1 port=$2
bin=${PG_BIN:-$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -1)}
as=()
mkdir -p "$dir"
if [ "$(id -u)" = 0 ]; then
  chown postgres "$dir"
  as=(setpriv --reuid=postgres --regid="$(id -g postgres)" --clear-groups --pdeathsig KILL)
fi
cd "$dir"
export HOME=$dir
[ -e data/PG_VERSION ] || { "${as[@]}" "$bin/initdb" -D data -U postgres -A trust --no-sync -E UTF8 --locale=C >initdb.log 2>&1 || { cat initdb.log >&2; exit 1; }; }
tls=()
if [ -n "${RIG_TLS:-}" ]; then
  # it refuses a key that others may read
  install -m 600 ${as:+-o postgres} "$RIG_TLS/srv.key" srv.key
  tls=(-c ssl=on -c ssl_cert_file="$RIG_TLS/srv.pem" -c ssl_key_file="$dir/srv.key")
fi
# fsync stays on: what tests check is what survives
exec "${as[@]}" "$bin/postgres" -D data -p "$port" -k "$dir" -c listen_addresses=127.0.0.1 -c shared_buffers=64MB \
  -c dynamic_shared_memory_type=mmap -c max_connections=200 -c recovery_init_sync_method=syncfs "${tls[@]}"
