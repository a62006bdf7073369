# In the machine: agents over AF_VSOCK to a forwarder that dumps what it gets. Leaves in /out:
#   dump.jsonl         the forwarder's standard output: one JSON object a span
#   log.jsonl          its standard error
#   exit-code          its exit code after SIGTERM
#   expected/*.jsonl   what each agent's spans mean
#   status/*           /proc/PID/task/*/status of the forwarder at work; cwd: its working directory
# Fails when the forwarder or an agent does. What the dump holds is for the host to judge.
set -eu

port=10240
traceparent=00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01
mkdir /out/expected /out/status

kata-trace-forwarder --dump-only --log-level info --vsock-port "$port" --vsock-cid any \
  >/out/dump.jsonl 2>/out/log.jsonl &
forwarder=$!

agent() {
  name=$1
  shift
  kata-agent-side agent --vsock "1:$port" --expected "/out/expected/$name.jsonl" "$@"
}

# An agent that finds nobody listening has sent nothing: the first that succeeds says that the forwarder listens.
until agent bincode-isolated --encoding bincode 2>/tmp/attempt; do
  if ! kill -0 "$forwarder"; then
    echo "forward: the forwarder ended before it listened"
    cat /out/dump.jsonl /out/log.jsonl
    exit 1
  fi
  sleep 0.1
done

agent json-isolated --encoding json
agent bincode-collated --encoding bincode --mode collated --traceparent "$traceparent"
agent json-collated --encoding json --mode collated --traceparent "$traceparent"

# Several at once, of both encodings; the forwarder is looked at while they are there.
agents=
for encoding in bincode json; do
  agent "$encoding-paced" --encoding "$encoding" --sessions 2 --pace 50 &
  agents="$agents $!"
  agent "$encoding-dynamic" --encoding "$encoding" --sessions 2 --connections dynamic --pace 20 &
  agents="$agents $!"
done
sleep 0.3
for task in "/proc/$forwarder/task/"*; do
  cat "$task/status" >"/out/status/${task##*/}"
done
readlink "/proc/$forwarder/cwd" >/out/cwd
for agent in $agents; do
  wait "$agent"
done

# Agents do not wait to be read: all they wrote is shown, or never will be.
expected=$(cat /out/expected/*.jsonl | wc -l)
patience=100
while [ "$(wc -l </out/dump.jsonl)" -lt "$expected" ] && [ "$patience" -gt 0 ]; do
  patience=$((patience - 1))
  sleep 0.1
done

kill -TERM "$forwarder"
code=0
wait "$forwarder" || code=$?
echo "$code" >/out/exit-code
echo "forward: $(wc -l </out/dump.jsonl) lines for $expected spans; the forwarder's exit code is $code"
[ "$code" = 0 ]
