# In the machine: an ordinary user's forwarder whose collector's certificate is replaced, once it is confined, by a link
# to a file that it may not reach. It reads the certificate at its start, and again when it connects because an agent
# has sent something. Needs --file CERTIFICATE:/hidden/ca.pem. Leaves in /out:
#   log.jsonl   what the forwarder printed
#   lsm         which of the kernel's security modules are there
set -eu
trap 'cat /out/log.jsonl' EXIT

port=10240

# Waits until the forwarder has said something.
wait_for() { # text
  until grep -q "$1" /out/log.jsonl; do
    kill -0 "$forwarder"
    sleep 0.1
  done
}

mount -t securityfs securityfs /sys/kernel/security
cp /sys/kernel/security/lsm /out/lsm
mkdir /certificates
cp /hidden/ca.pem /certificates/ca.pem
chmod 644 /hidden/ca.pem /certificates/ca.pem

# Its own port for metrics stands in for the collector: it takes connections, and knows nothing of TLS.
export OTEL_EXPORTER_OTLP_CERTIFICATE=/certificates/ca.pem
su -s /bin/sh nobody -c "exec kata-trace-forwarder --vsock-port $port --metrics 127.0.0.1:9464 \
  --otlp-endpoint https://127.0.0.1:9464/v1/traces --wait-for-collector --log-level debug" >/out/log.jsonl 2>&1 &
forwarder=$!
wait_for '"msg":"listening"'
ln -sf /hidden/ca.pem /certificates/ca.pem
kata-agent-side agent --vsock "1:$port" --encoding json --expected /tmp/expected.jsonl
wait_for '"msg":"collector unreachable'
kill -KILL "$forwarder"
