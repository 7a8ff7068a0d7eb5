"""Loads a policy's adapters with PEFT on their base, and the policy with transformers, and compares their logits.

    python check_adapter.py BASE POLICY
"""

import sys

import peft
import torch
from transformers import AutoModelForCausalLM

base_folder, policy_folder = sys.argv[1:]
tokens = torch.arange(24).remainder(20)[None]
merged = AutoModelForCausalLM.from_pretrained(policy_folder, dtype=torch.float32)
base = AutoModelForCausalLM.from_pretrained(base_folder, dtype=torch.float32)
with torch.inference_mode():
    before = base(tokens).logits
    adapted = peft.PeftModel.from_pretrained(base, policy_folder + "/adapter")
    ours, theirs = merged(tokens).logits, adapted(tokens).logits
changed, difference = (theirs - before).abs().max().item(), (ours - theirs).abs().max().item()
print(f"the adapters change logits by up to {changed:.3g}; merged and adapted differ by up to {difference:.3g}")
assert changed > 1e-3, "the adapters do nothing"
assert difference < 1e-4 * max(1, theirs.abs().max().item()), "merged weights and adapters disagree"
