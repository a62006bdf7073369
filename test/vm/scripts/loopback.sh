# In the machine, without a forwarder: what agents send over AF_VSOCK is what a listener gets. It shows that the
# machine, and the agent's side, are in order.
set -eu

kata-agent-side listen --vsock 10240 --out /tmp/frames --frames 144 >/tmp/listener &
listener=$!
until grep -q listening /tmp/listener; do sleep 0.1; done

kata-agent-side agent --vsock 1:10240 --expected /tmp/static.jsonl
kata-agent-side agent --vsock 1:10240 --sessions 2 --connections dynamic --expected /tmp/dynamic.jsonl
kata-agent-side agent --vsock 1:10240 --mode collated --expected /tmp/collated.jsonl
wait "$listener"

kata-agent-side decode --encoding bincode </tmp/frames | sort >/out/received.jsonl
sort /tmp/static.jsonl /tmp/dynamic.jsonl /tmp/collated.jsonl >/out/expected.jsonl
cmp /out/received.jsonl /out/expected.jsonl
echo "loopback: all $(wc -l </out/received.jsonl) spans arrived"
