#!/usr/bin/env bash
# redis.sh DIR PORT: a private Redis on loopback, in the foreground. Plain, or with TLS and users when RIG_TLS names a
# folder where tls.sh ran: user authd may touch only keys and channels `authd:*`, and nothing dangerous.
set -euo pipefail
dir=$1 port=$2
mkdir -p "$dir"
cd "$dir"
{
  echo "bind 127.0.0.1"
  echo "dir $dir"
  echo 'save ""'
  echo "appendonly yes"
  echo "appendfsync always"
  echo "unixsocket $dir/redis.sock"
  echo "unixsocketperm 700"
  if [ -n "${RIG_TLS:-}" ]; then
    printf '%s\n' 'user default off' 'user authd on >authd-pw ~authd:* &authd:* +@all -@dangerous -@admin +info' \
      'user admin on >admin-pw ~* &* +@all' >users.acl
    printf '%s\n' "port 0" "tls-port $port" "tls-cert-file $RIG_TLS/srv.pem" "tls-key-file $RIG_TLS/srv.key" \
      "tls-ca-cert-file $RIG_TLS/ca.pem" "tls-auth-clients no" "aclfile $dir/users.acl"
  else
    echo "port $port"
  fi
} >redis.conf
exec redis-server redis.conf
