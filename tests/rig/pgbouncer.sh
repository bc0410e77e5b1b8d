#!/usr/bin/env bash
# pgbouncer.sh DIR PORT SERVER_PORT SESSIONS: a private PgBouncer on loopback in transaction mode, in the foreground, in
# front of the PostgreSQL of pg.sh, with so many sessions of the server for each database and user.
set -euo pipefail
dir=$1 port=$2 server=$3 sessions=$4
as=()
mkdir -p "$dir"
if [ "$(id -u)" = 0 ]; then # it refuses to run as root
  chown postgres "$dir"
  as=(setpriv --reuid=postgres --regid="$(id -g postgres)" --clear-groups --pdeathsig KILL)
fi
cat >"$dir/pgbouncer.ini" <<INI
[databases]
* = host=127.0.0.1 port=$server
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = $port
unix_socket_dir =
auth_type = trust
auth_file = $dir/users.txt
auth_user = postgres
auth_query = SELECT usename, passwd FROM pg_shadow WHERE usename = \$1
pool_mode = transaction
default_pool_size = $sessions
max_client_conn = 2000
server_idle_timeout = 5
log_connections = 0
log_disconnections = 0
INI
echo '"postgres" ""' >"$dir/users.txt"
chmod 644 "$dir/pgbouncer.ini" "$dir/users.txt"
cd "$dir"
exec "${as[@]}" pgbouncer -q "$dir/pgbouncer.ini"
