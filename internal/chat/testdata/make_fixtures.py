"""Writes small tokenizer folders in the manner of the model families, with their own chat templates, and what Hugging Face's
libraries make of texts and dialogues. Run in this directory; the output is committed.

    pip install -r ../../../tools/fixtures/requirements.txt && python make_fixtures.py $(../../../tools/smollm2/fetch.sh)

The templates of Qwen2.5 and Llama 3, 3.1 and 3.2 are those that TRL (Apache-2.0) compares models with, SmolLM2's is the one in
its GGUF file (Apache-2.0), Qwen2's is that of Qwen2-7B-Instruct's tokenizer_config.json (Apache-2.0), and Qwen2.5-Math's is
Qwen2.5's with another default system turn, as its tokenizer_config.json has it (Apache-2.0). The vocabularies are trained here:
they have 420 pieces, but split text as the families do. tools/fixtures/dialogues.py compares with the families' own.
"""
import json
import sys
from importlib.metadata import files
from pathlib import Path

from gguf import GGUFReader

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

CORPUS = """Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in May.
What is the final answer? It's 72, isn't it? They'll say we've 1234567 reasons.
Please reason step by step, and put your final answer within \\boxed{}. You have 3 attempts to answer the questions.
Your answer is incorrect. You have 2 attempts left. Try an alternative.
def f(x):\n    return x + 1\n\n\nprint(f(2))   # trailing   spaces
Größe, naïve café, 数学 и математика: α ≤ β.
""".splitlines() * 4

TEXTS = [
    "", " ", "Hello world", "It's 48+24 = 72, isn't it?", "  leading and   inner   spaces  ", "line\n\n  next\r\n\tline\n",
    "1234567 and 12 345", "\\boxed{\\frac{1}{2}}", "WE'LL see THEY'RE", "naïve café cafe\u0301", "数学 и математика α≤β 🙂",
    "a<|im_end|>b<|im_end|>\n", "trailing newline\n", "\n\n\n", "x" * 40, "٣٤ ½ Ⅷ", "tab\there\u00a0nbsp\u3000wide",
    "I'm, YOU'RE and we’ve", "한국어 テスト ไทย", "🇩🇪 👩‍👩‍👧 e\u0301\u0301", "\r\r\n\n \n\t\n", "x=1;y=2//комментарий", "$100,000.50 (±3%)", "٣٤٥٦٧ ²³ ¾",
    "ﬁ Å \u212b \u1100\u1161", "a\u2028b\u0085c\u000bd", "   ", "\n x", "'s 'S ' s", "_under_score__", "end\u0000zero", "a<tool_call>b</tool_call>",
]

GPT2_DIGITS = pre_tokenizers.Sequence([
    pre_tokenizers.Digits(individual_digits=True),
    pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
])


def split(pattern):
    return pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(pattern), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])


WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"



def from_trl(name):
    return next(f for f in files("trl") if f.name == name + ".jinja").read_text()


def from_gguf(path):
    return bytes(GGUFReader(path).fields["tokenizer.chat_template"].parts[-1]).decode()


QWEN2 = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def math(template):
    default = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
    assert template.count(default) == 2
    return template.replace(default, r"Please reason step by step, and put your final answer within \\boxed{}.")


# Writes the reasoning of earlier turns out of the dialogue.
THINKING = (
    "{% for message in messages %}{% set content = message.content %}"
    "{% if message.role == 'assistant' and not loop.last and '</think>' in content %}{% set content = content.split('</think>')[-1].lstrip('\\n') %}{% endif %}"
    "{{ '<|im_start|>' + message.role + '\n' + content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# Cuts off line ends, but not spaces, around what is said.
CHOMP = (
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\n' + message.content.strip('\n') + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# Moves every system turn to the front.
FRONT = (
    "{% for message in messages %}{% if message['role'] == 'system' %}{{ '<|im_start|>system\n' + message['content'] + '<|im_end|>\n' }}{% endif %}{% endfor %}"
    "{% for message in messages %}{% if message['role'] != 'system' %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# Accepts a system turn only at the front, and then user and assistant in turn.
ALTERNATE = (
    "{% if messages[0]['role'] == 'system' %}{{ '<|im_start|>system\n' + messages[0]['content'] + '<|im_end|>\n' }}{% set rest = messages[1:] %}{% else %}{% set rest = messages %}{% endif %}"
    "{% for message in rest %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

LLAMA3 = dict(
    split=split(WORDS % "{1,3}"), special=["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"],
    bos="<|begin_of_text|>", eos="<|end_of_text|>", eos_ids=[1, 4], ignore_merges=True)
CHATML = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
FAMILIES = {
    "smollm": dict(split=GPT2_DIGITS, template=from_gguf(sys.argv[1]), special=CHATML, bos="<|im_start|>", eos="<|im_end|>", eos_ids=2),
    # The base model's own settings: they name only <|endoftext|>, while the template ends turns with <|im_end|>.
    "qwen": dict(split=split(WORDS % ""), template=from_trl("qwen2_5"), special=CHATML, bos=None, eos="<|endoftext|>", eos_ids=[0], nfc=True),
    "qwen2": dict(split=split(WORDS % ""), template=QWEN2, special=CHATML, bos=None, eos="<|im_end|>", eos_ids=[2, 0], nfc=True),
    "qwen25math": dict(split=split(WORDS % ""), template=math(from_trl("qwen2_5")), special=CHATML, bos=None, eos="<|im_end|>", eos_ids=[2, 0], nfc=True),
    "llama3": dict(LLAMA3, template=from_trl("llama3")),
    "llama31": dict(LLAMA3, template=from_trl("llama3_1")),
    "llama32": dict(LLAMA3, template=from_trl("llama3_2")),
}
DIALOGUES = [
    [("user", "What is 47 + 5?")],
    [("system", "Please reason step by step."), ("user", " What is 47 + 5? \n")],
    [("system", "You have 3 attempts."), ("user", "It's 2+2?"), ("assistant", "It's 5."), ("user", "Your answer is incorrect. You have 2 attempts left.")],
    [("system", "You have 3 attempts."), ("user", "It's 2+2?"), ("assistant", "It's 5."), ("system", "Your answer is incorrect.")],
    [("user", "It's 2+2?"), ("assistant", "\n  It's 5.\t\n"), ("user", "No.\n"), ("assistant", "  So \\boxed{3}"), ("user", "Try.")],
    [("user", "It's 2+2?"), ("assistant", "So \\boxed{5}.\n"), ("user", "Your answer is incorrect."), ("assistant", "\\boxed{3}"), ("user", "Try."), ("user", "It's 2+2?")],
]


def make(name, f):
    t = Tokenizer(models.BPE(ignore_merges=f.get("ignore_merges", False)))
    t.pre_tokenizer, t.decoder = f["split"], decoders.ByteLevel()
    if f.get("nfc"):
        t.normalizer = normalizers.NFC()
    special = [AddedToken(s, special=True, normalized=False) for s in f["special"]]
    t.train_from_iterator(CORPUS, trainers.BpeTrainer(
        vocab_size=420, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    t.add_tokens([AddedToken("<tool_call>", special=False, normalized=False), AddedToken("</tool_call>", special=False, normalized=False)])
    out = Path(name)
    out.mkdir(exist_ok=True)
    fast = PreTrainedTokenizerFast(tokenizer_object=t, bos_token=f["bos"], eos_token=f["eos"])
    t.save(str(out / "tokenizer.json"))
    (out / "tokenizer_config.json").write_text(json.dumps(
        {"bos_token": f["bos"] and {"content": f["bos"], "special": True}, "eos_token": f["eos"], "chat_template": f["template"]}, indent=1) + "\n")
    (out / "generation_config.json").write_text(json.dumps({"eos_token_id": f["eos_ids"]}) + "\n")
    texts = [{"text": s, "ids": (ids := t.encode(s, add_special_tokens=False).ids), "decoded": t.decode(ids)} for s in TEXTS]
    dialogues = []
    for d in DIALOGUES:
        messages = [{"role": r, "content": c} for r, c in d]
        text = fast.apply_chat_template(messages, chat_template=f["template"], add_generation_prompt=True, tokenize=False, date_string="26 Jul 2024")
        dialogues.append({"messages": messages, "ids": t.encode(text, add_special_tokens=False).ids})
    (out / "expected.json").write_text(json.dumps({"texts": texts, "dialogues": dialogues}, ensure_ascii=False) + "\n")


for name, f in FAMILIES.items():
    make(name, f)
Path("templates.json").write_text(json.dumps({"thinking": THINKING, "chomp": CHOMP, "front": FRONT, "alternate": ALTERNATE}, indent=1) + "\n")
