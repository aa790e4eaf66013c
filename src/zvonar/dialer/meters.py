"""How is dialling going? Counters without anybody's number in a label."""

from prometheus_client import Counter, Gauge, Histogram

attempts = Counter("zvonar_attempts", "Attempts that ended, by result.", ["disposition", "script_result"])
legs_placed = Counter("zvonar_legs_placed", "Legs placed, by trunk.", ["trunk"])
refusals = Counter("zvonar_placement_refusals", "Placements refused at dispatch, by reason.", ["reason"])
recovered = Counter("zvonar_legs_recovered", "Legs found at start, by what was done with them.", ["how"])
inbound = Counter("zvonar_inbound_calls", "Calls that came in, by what was made of them.", ["how"])
lines = Gauge("zvonar_lines", "Lines that are up.", multiprocess_mode="livesum")
channels = Gauge(
    "zvonar_trunk_channels", "Channels in use, by trunk.", ["trunk"], multiprocess_mode="livesum"
)
lease_lag = Histogram(
    "zvonar_lease_lag_seconds",
    "From the moment a call was due to the moment it was leased.",
    buckets=(0.01, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 300),
)
setup = Histogram(
    "zvonar_setup_seconds",
    "From the lease to the INVITE, waiting for a slot included.",
    buckets=(0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10),
)
answer = Histogram(
    "zvonar_answer_seconds",
    "From the INVITE to the answer: the callee's ringing and the network's part.",
    buckets=(0.1, 0.25, 0.5, 1, 2, 5, 10, 15, 20, 30, 60),
)
