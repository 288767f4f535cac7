"""From the name of a dataset to cached tokens; `hlbgpt_core.text.data.load_data` is the entry point.

sources.py         names of datasets, their files, how they split      (standard library only)
dataset_source.py  a dataset and tokenizer as one thing to cache       (standard library only)
corpus.py, hub.py  the text itself, from files and from the hub
tokenizer.py, byte_pairs.py, vocabulary_files.py, encoding.py          text to token values
token_cache.py     the cache on disk, complete or not at all              (standard library only)
content_checks.py  whether its files are still what was written           (standard library only)
"""
