"""Writes peft.json: what PEFT saves for the adapters of the tests' tiny Llama (lora_test.go), names, shapes and settings.

    pip install torch transformers peft && python make_adapter.py
"""

import json
import pathlib
import tempfile

import peft
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM

model = LlamaForCausalLM(LlamaConfig(
    vocab_size=40, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
    tie_word_embeddings=True,
))
targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
config = peft.LoraConfig(r=3, lora_alpha=6, target_modules=targets, task_type="CAUSAL_LM")
with tempfile.TemporaryDirectory() as folder:
    peft.get_peft_model(model, config).save_pretrained(folder)
    saved = json.loads((pathlib.Path(folder) / "adapter_config.json").read_text())
    shapes = {name: list(w.shape) for name, w in load_file(pathlib.Path(folder) / "adapter_model.safetensors").items()}
saved["target_modules"] = sorted(saved["target_modules"])
fixture = {"peft": peft.__version__, "config": saved, "shapes": shapes}
(pathlib.Path(__file__).parent / "peft.json").write_text(json.dumps(fixture, indent=1, sort_keys=True) + "\n")
