# Set-up shared by ./run and ./test: an environment in the checkout, and OPA. Sourced, not run.
VENV="$PWD/.magistrate/venv"

say() { printf '%s\n' "$*" >&2; }

find_python() {
  for candidate in "${PYTHON:-}" python3 python3.14 python3.13 python3.12 python3.11; do
    [ -n "$candidate" ] || continue
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      printf '%s' "$candidate"
      return
    fi
  done
  say "error: Python 3.11 or newer is needed"
  say "hint: PYTHON=/path/to/python3.11 ./run"
  exit 2
}

# setup_environment WHAT: install WHAT (. or .[test]) unless what stands there already is that.
setup_environment() {
  wanted="$1 $(cksum pyproject.toml)"
  stamp="$VENV/installed-$(printf '%s' "$1" | tr -c 'a-z' '_')"
  if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then return; fi
  began=$(date +%s)
  say "making the environment in .magistrate/venv (once; about a minute)"
  mkdir -p .magistrate
  chmod 700 .magistrate
  [ -x "$VENV/bin/python" ] || "$(find_python)" -m venv "$VENV"
  "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check -e "$1"
  printf '%s' "$wanted" >"$stamp"
  say "  done in $(($(date +%s) - began)) s"
}

# setup_opa: find or get the one OPA version this release runs on.
setup_opa() {
  "$VENV/bin/magistrate" opa install --if-needed
}
