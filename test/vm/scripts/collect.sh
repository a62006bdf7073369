# In the machine: agents over AF_VSOCK to a forwarder that sends to a real collector, first over gRPC, then over HTTP.
# Needs --file OTELCOL:/bin/otelcol. Leaves in /out, below grpc/ and http/:
#   spans.jsonl        what the collector received, one export request in OTLP/JSON a line
#   expected/*.jsonl   what each agent's spans mean
#   log.jsonl          what the forwarder printed
#   exit-code          its exit code after SIGTERM
# Fails when the forwarder, the collector or an agent does. What arrived is for the host to judge.
set -eu

port=10240

configuration() { # file
  cat <<END
{"receivers": {"otlp": {"protocols": {
   "grpc": {"endpoint": "127.0.0.1:4317"}, "http": {"endpoint": "127.0.0.1:4318"}}}},
 "exporters": {"file": {"path": "$1", "rotation": {"max_megabytes": 1000}}},
 "service": {"pipelines": {"traces": {"receivers": ["otlp"], "exporters": ["file"]}}}}
END
}

# Waits until a command succeeds, for as long as a process lives.
wait_for() { # pid command...
  awaited=$1
  shift
  until "$@"; do
    kill -0 "$awaited"
    sleep 0.1
  done
}

forward() { # directory endpoint
  out=/out/$1
  mkdir -p "$out/expected"
  configuration "$out/spans.jsonl" >"/tmp/$1.json"
  otelcol --config "/tmp/$1.json" >"$out/otelcol.log" 2>&1 &
  collector=$!
  wait_for "$collector" grep -q "Everything is ready" "$out/otelcol.log"

  kata-trace-forwarder --otlp-endpoint "$2" --vsock-port "$port" >"$out/log.jsonl" 2>&1 &
  forwarder=$!
  wait_for "$forwarder" grep -q '"msg":"listening"' "$out/log.jsonl"

  agents=
  for encoding in bincode json; do
    kata-agent-side agent --vsock "1:$port" --encoding "$encoding" --sessions 2 \
      --expected "$out/expected/$encoding.jsonl" &
    agents="$agents $!"
    kata-agent-side agent --vsock "1:$port" --encoding "$encoding" --mode collated --connections dynamic \
      --expected "$out/expected/$encoding-dynamic.jsonl" &
    agents="$agents $!"
  done
  for agent in $agents; do
    wait "$agent"
  done

  # What guests have sent is read and delivered before it ends.
  kill -TERM "$forwarder"
  code=0
  wait "$forwarder" || code=$?
  echo "$code" >"$out/exit-code"
  kill -TERM "$collector"
  wait "$collector"
  echo "collect: $(cat "$out"/expected/*.jsonl | wc -l) spans sent over $1; the forwarder's exit code is $code"
  [ "$code" = 0 ]
}

forward grpc http://127.0.0.1:4317
forward http http://127.0.0.1:4318
