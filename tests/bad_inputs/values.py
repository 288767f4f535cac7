"""Values that an option or a setting might be given by mistake or by malice, by kind."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

NUMBERS: Sequence[str] = (
    *("0", "-1", "-0", "+1", "-3", "1e3", "1.5", "1e-999", "1e999", "nan", "inf", "-inf", "0x10", "1_000", "007"),
    *(str(2**31), str(2**53 + 1), str(2**63 - 1), str(2**63), str(-(2**63)), str(-(2**63) - 1), str(2**64), "9" * 400),
    *("", " ", "-", "--", "1 2", "1,5", "1\n2", "x", "²", "٣", "１２", "true", "None", "1;2", "4..8", "8..4", "0..1"),
)
TEXTS: Sequence[str] = (
    *("", " ", "-", "--", "=", "x", "None", "a" * 300, "b" * 100_000, "%s%n%d", "{0}{x}", "[red]x[/red]", "'; DROP--"),
    *("a\nb", "a\tb", "a\rb", "\x1b[31mred\x1b[0m", "bell\x07", "\x9b31mred", "\u202egnp.exe", "\u2028line", "\x7f"),
    *("é", "日本語", "🙂", "e\u0301", "caf\udce9", "\ud800", "\udcff\udcfe", "../../x", "$HOME", "`id`", "*", "\\"),
    *("depth", "depth=", "=4", "depth=nan", "depth==4", "dept=4", "seed=-1", f"seed={2**63}", f"seed={'9' * 400}"),
    *("run_num=0", f"run_num={2**63}", f"depth={2**64}", "seed=²", "lr_mult=inf", "tokenizer=", "width<<9", "1/0 > 1"),
    *(
        "depth ** 9**9 > 1",
        "(" * 200,
        "'a' * 9**9 == ''",
        "depth and",
        "__import__('os')",
        "depth.real",
        "width > \x00",
    ),
    *("num_params", "val_loss", "train_", "test_loss", "loss", "here", "0" * 16, "f" * 64, "latest"),
)
PLACES: Sequence[str] = (
    *(
        "",
        ".",
        "..",
        "~",
        "~nobody_of_that_name/x",
        "loop/x",
        "folder/",
        "n" * 300,
        "p/" * 2_500,
        "missing/deep/x",
    ),
    *("text.txt/x", "locked/x", "/dev/zero", "/dev/null", "/dev/full", "/dev/stdin", "/proc/self/mem", "a\nb", "-x"),
    *("caf\udce9", "\x1b[31mx", "日本語", "sqlite://", "sqlite:///", "file:x?mode=rw", "http://[::1", "s3://x/y"),
    *("postgresql://", "postgresql://h:x/d", "postgresql://127.0.0.1:1/x", "postgresql://127.0.0.1:1/x?sslmod=x"),
    *("postgresql://u:s3cret@127.0.0.1:1/d?connect_timeout=abc", "host=127.0.0.1 password=s3cret", "postgres:x"),
)
KINDS_OF_PLACE: Sequence[str] = (
    *("loop", "dangling", "fifo", "zero", "null", "full", "socket", "folder", "empty", "binary", "readonly"),
    *("foreign", "cut", "newer", "blank"),
)
ENDINGS: Sequence[str] = ("", ".csv", ".jsonl", ".parquet", ".png", ".html", ".toml", ".db", ".safetensors", ".pt")
# By name of the variable. What refuses them is hlbq, or a library that must not be left to do so.
ENVIRONMENT: Mapping[str, Sequence[str]] = MappingProxyType(
    {
        "HLBQ_DB": PLACES,
        "HLBQ_CACHE": PLACES,
        "HOME": ("", "missing", "text.txt", "n" * 300),
        "TMPDIR": ("missing", "text.txt"),
        "COLUMNS": ("0", "-1", "x", "1", str(2**63)),
        "TERM": ("", "dumb", "\x1b"),
        "TZ": ("", "Nowhere/Nothing", "a" * 300),
        "WANDB_MODE": ("sideways", "", "ONLINE", "disabled", "dryrun"),
        "WANDB_BASE_URL": ("", "nonsense", "http://[::1", "ftp://x", "http://127.0.0.1:1"),
        "WANDB_API_KEY": ("short", "x" * 40, "é"),
        "WANDB_PROJECT": ("a/b", "p" * 300),
        "WANDB_ENTITY": ("a/b", "\x1b[31m"),
        "WANDB_DIR": ("missing", "text.txt", "/dev/null"),
        "WANDB_SILENT": ("maybe",),
        "WANDB_CONSOLE": ("sideways",),
        "WANDB_INIT_TIMEOUT": ("x", "-1"),
        "USER": ("", "\x1b[31m", "a\nb", "caf\udce9"),
        "LOGNAME": ("", "\x1b[31m", "caf\udce9"),
        "OMP_NUM_THREADS": ("x", "-1", "0"),
        "CUDA_VISIBLE_DEVICES": ("x", "-1", "99"),
    }
)
# Bytes of address space, files or bytes of one file that a process may have, by the letter of `ulimit`.
LIMITS: Mapping[str, Sequence[int]] = MappingProxyType({"n": (8, 16), "f": (0, 512, 4096), "v": (1 << 28, 1 << 31)})
ENCODINGS: Sequence[str] = ("utf-8", "ascii", "latin-1")
SWEEP_FILES: Sequence[str] = (
    "settings = 1",
    "[settings]\ndepth = {}\nwidth = 128",
    "[settings]\ndepth = [4, {}]\nwidth = 128",
    "[settings]\ntokenizer = {}",
    "[settings]\ndataset = {}",
    "[settings]\nlr_mult = {}",
    "[sweep]\nname = {}",
    "[sweep]\nnum_runs = {}",
    "[sweep]\nseed = {}",
    "[sweep]\nzip = {}",
    "[sweep]\nwhere = {}",
    "[sweep]\nrandom = {}",
    "[sweep]\nlogfile = {}\nlog_csv = true",
    "[sweep]\nwandb_project = {}\nlog_wandb = true",
    "[{}]\nx = 1",
    "{}",
)
TOML_VALUES: Sequence[str] = (
    *(
        '""',
        '" "',
        '"a\\u0000b"',
        '"\\u001b[31mred"',
        '"a\\nb"',
        '"\\u009b31m"',
        '"日本"',
        '"[red]"',
        "true",
        "-1",
        "0",
    ),
    *("nan", "inf", "-inf", "1e999", str(2**63), str(2**64), "9" * 5_000, "1979-05-27", "07:32:00", "{}", "{ a = 1 }"),
    *(
        "[]",
        "[[]]",
        "[[[]]]",
        '[""]',
        '["depth", "width"]',
        '[["depth"]]',
        '[["depth", "width"]]',
        "[1, 'a']",
        "x",
        "[",
    ),
    *('"4..8"', '"8..4"', '"..', '"~nobody_of_that_name/x"', '"loop"', '"fifo.csv"', '"folder"', "0x10", "'depth > 3'"),
)
