"""Train a causal language model with TRL's SFTTrainer, as m2m asks for it: full, or LoRA.

    [train]
    command = ["{python}", "trainers/trl_sft.py"]            # or [..., "--lora"]

TRL reads each of m2m's records as they are: `text`, `prompt` and `completion` (whose loss is on the
completion only), or `messages`. Of `messages` the loss is on the assistant's turns, as m2m scores them, where
the chat template marks them ({% generation %}) or TRL knows a marked one in its place; any other is refused,
as it would train on the questions too. The examples lie in `data` in the order in which they are to be drawn.
"""

import argparse
import json
import os
import re
import sys
from pathlib import Path

import torch
from datasets import load_dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer, get_training_chat_template


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
    if job["record"] == "messages":
        _check_marked(tokenizer)
    model = AutoModelForCausalLM.from_pretrained(job["base"], dtype=torch.float32, trust_remote_code=False)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not job["trainable"] or any(re.search(p, name) for p in job["trainable"]))
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
        max_length=(job["context"] or 511) + 1,
        assistant_only_loss=job["record"] == "messages",
        completion_only_loss=job["record"] == "prompt_completion",
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

        layers = "all-linear"
        if job["trainable"]:
            head = model.get_output_embeddings()
            linear = [pair for pair in model.named_modules() if isinstance(pair[1], torch.nn.Linear)]
            layers = [name for name, layer in linear if layer.weight.requires_grad and layer is not head]
        adapter = LoraConfig(r=16, lora_alpha=32, target_modules=layers, task_type="CAUSAL_LM")
    trainer = InOrder(
        model=model,
        args=arguments,
        train_dataset=load_dataset("json", data_files=job["data"], split="train"),
        processing_class=tokenizer,
        peft_config=adapter,
    )
    trainer.train()
    trainer.save_model(str(output))
    trainer.state.save_to_json(str(output / "trainer_state.json"))


def _check_marked(tokenizer) -> None:
    """Refuse a chat template that does not tell which tokens are the assistant's."""
    if re.search(r"\{%-?\s*generation\s*-?%\}", tokenizer.chat_template or ""):
        return
    try:
        get_training_chat_template(tokenizer)
    except ValueError:
        sys.exit(
            "the chat template does not mark what the assistant says ({% generation %}), so that TRL would "
            "train on the questions too: use transformers_trainer.py, or mark it in the base model's folder"
        )


if __name__ == "__main__":
    main()
