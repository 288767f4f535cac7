"""The smallest model that still trains: for tests that want the real thing in a second or two."""

TINY_OPTIONS = tuple(
    "--tokenizer bytes --depth 1 --width 64 --max_sequence_length 64 --initial_sequence_length 16 "
    "--sequence_growth_steps 10 --gpu_capacity_scalar 0.01 --lr_mult 0.5 --max_microbatches 2 "
    "--num_eval_tokens 1024".split()
)
