# In a machine whose kernel has no AF_VSOCK: what the forwarder says about it, and its exit code. Leaves in /out
# stdout, stderr and exit-code (143: it had to be stopped).
set -eu

code=0
timeout 30 kata-trace-forwarder --dump-only --log-level info >/out/stdout 2>/out/stderr || code=$?
echo "$code" >/out/exit-code
cat /out/stdout /out/stderr
echo "no-vsock: the forwarder's exit code is $code"
