#!/usr/bin/env bash
# docs.sh DIR BIN SCRIPT: runs SCRIPT, commands as the documentation shows them, in this checkout as root, on what looks
# like a fresh machine. It runs inside new mount, network and process namespaces, so that the documented paths and ports
# are its own: what is written to /etc, /run, /var/lib, the home and the checkout goes with them, and so does every process.
#
# DIR is an empty folder, BIN where the workspace's programs were built. Two commands are not the real ones:
#   authd   without a subcommand goes on in the background once it is ready, as in a terminal of its own
#   cargo   `run` starts what is built already; of `build` and `test` only the arguments are checked
set -euo pipefail
dir=$1 bin=$2 script=$3
repository=$(cd "$(dirname "$0")/../.." && pwd)
ip link set lo up
mount -t tmpfs tmpfs "$dir"
mkdir "$dir/bin" "$dir/shims" "$dir/home"
mount --bind "$bin" "$dir/bin"
count=0
for path in /etc /var/lib "$repository"; do
  count=$((count + 1))
  mkdir -p "$dir/$count/up" "$dir/$count/work"
  mount -t overlay overlay -o "lowerdir=$path,upperdir=$dir/$count/up,workdir=$dir/$count/work" "$path"
done
mount -t tmpfs tmpfs /run

cat >"$dir/shims/authd" <<'END'
#!/usr/bin/env bash
set -euo pipefail
for word in "$@"; do
  case $word in check | --version | --help) exec "$DOCS_DIR/bin/authd" "$@" ;; esac
done
log=$(mktemp "$DOCS_DIR/authd-XXXXXX.log")
"$DOCS_DIR/bin/authd" "$@" >"$log" 2>&1 &
until grep -q 'authd is ready' "$log"; do
  kill -0 $! 2>/dev/null || { cat "$log"; wait $!; }
  sleep .05
done
cat "$log"
END
cat >"$dir/shims/cargo" <<'END'
#!/usr/bin/env bash
set -euo pipefail
die() { echo "cargo: $*" >&2; exit 1; }
verb=$1 packages=() target= filter=
shift
while [ $# -gt 0 ]; do
  case $1 in
    -p) packages+=("$2"); shift ;;
    --test) target=tests/$2; shift ;;
    --lib) target=src ;;
    --release | --workspace) ;;
    -*) die "$1 is not known here" ;;
    *) filter=${1%%::*} ;;
  esac
  shift
done
for package in "${packages[@]}"; do grep -qx "name = \"$package\"" "$package/Cargo.toml" || die "no package $package"; done
[ ${#packages[@]} -gt 0 ] || packages=(*)
case $verb in
  run) exec "${packages[0]}" ;;
  build) [ -z "$filter" ] || die "build $filter" ;;
  test)
    for package in "${packages[@]}"; do
      for path in "$package/$target/$filter" "$package/$target/$filter.rs"; do [ ! -e "$path" ] || exit 0; done
    done
    die "no tests $filter in $target"
    ;;
  *) die "$verb is not known here" ;;
esac
END
chmod 755 "$dir/shims/"*
# What an earlier build has left is not what is tested.
mkdir -p "$repository/target/release"
mount -t tmpfs tmpfs "$repository/target/release"
ln -s "$dir/shims/authd" "$dir/bin/authctl" "$dir/bin/auth-login" "$repository/target/release/"

export DOCS_DIR=$dir HOME=$dir/home PATH=$dir/shims:$dir/bin:$PATH LANG=C.UTF-8
cd "$repository"
exec bash "$script"
