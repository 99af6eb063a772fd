"""Train a causal language model with TRL's SFTTrainer, as m2m asks for it: full, or LoRA.

    [train]
    command = ["{python}", "trainers/trl_sft.py"]            # or [..., "--lora"]

TRL reads each of m2m's records as they are: `text`, `prompt` and `completion` (whose loss is on the
completion only), or `messages`. The examples lie in `data` in the order in which they are to be drawn.
"""

import argparse
import json
import os
from pathlib import Path

import torch
from datasets import load_dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer


class InOrder(SFTTrainer):
    """An SFTTrainer that reads its data in the order of the file."""

    def _get_train_sampler(self, *args, **kwargs):
        return None


def main() -> None:
    """Train on the job that m2m describes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--lora", action="store_true", help="leave an adapter, not a whole model")
    lora = parser.parse_args().lora
    job = json.loads(Path(os.environ["M2M_JOB"]).read_text(encoding="utf-8"))
    recipe, output = job["recipe"], Path(job["output"])
    tokenizer = AutoTokenizer.from_pretrained(job["base"], trust_remote_code=False)
    arguments = SFTConfig(
        output_dir=str(output / "checkpoints"),
        max_steps=job["steps"],
        per_device_train_batch_size=recipe["batch"],
        learning_rate=recipe["learning_rate"],
        weight_decay=recipe["weight_decay"],
        lr_scheduler_type=recipe["schedule"],
        warmup_steps=recipe["warmup"],
        max_grad_norm=recipe["clip_norm"] or 0.0,
        seed=job["seed"],
        max_length=512,
        packing=False,  # with it a step would hold other examples for other mixtures
        pad_token=tokenizer.pad_token or tokenizer.eos_token,
        bf16=torch.cuda.is_available(),
        use_cpu=not torch.cuda.is_available(),
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )
    adapter = None
    if lora:
        from peft import LoraConfig

        adapter = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    trainer = InOrder(
        model=AutoModelForCausalLM.from_pretrained(job["base"], dtype=torch.float32, trust_remote_code=False),
        args=arguments,
        train_dataset=load_dataset("json", data_files=job["data"], split="train"),
        processing_class=tokenizer,
        peft_config=adapter,
    )
    trainer.train()
    trainer.save_model(str(output))
    trainer.state.save_to_json(str(output / "trainer_state.json"))


if __name__ == "__main__":
    main()
