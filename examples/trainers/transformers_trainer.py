"""Train a causal language model with transformers' Trainer, as m2m asks for it.

    [train]
    command = ["{python}", "trainers/transformers_trainer.py"]

m2m says what to train on in the JSON file that M2M_JOB names. The examples lie in `data` in the order in
which they are to be drawn, `batch` a step: so the file is read once, in order, and shares need no care.
"""

import json
import os
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer, TrainingArguments

MAX_TOKENS = 512


class InOrder(Trainer):
    """A Trainer that reads its data in the order of the file."""

    def _get_train_sampler(self, *args, **kwargs):
        return None


def main() -> None:
    """Train on the job that m2m describes."""
    job = json.loads(Path(os.environ["M2M_JOB"]).read_text(encoding="utf-8"))
    recipe = job["recipe"]
    tokenizer = AutoTokenizer.from_pretrained(job["base"], trust_remote_code=False)
    model = AutoModelForCausalLM.from_pretrained(job["base"], dtype=torch.float32, trust_remote_code=False)
    with open(job["data"], encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for line in lines]
    examples = [_tokens(tokenizer, text) for text in texts]
    arguments = TrainingArguments(
        output_dir=str(Path(job["output"]) / "checkpoints"),
        max_steps=job["steps"],
        per_device_train_batch_size=recipe["batch"],
        learning_rate=recipe["learning_rate"],
        weight_decay=recipe["weight_decay"],
        adam_beta1=recipe["betas"][0],
        adam_beta2=recipe["betas"][1],
        lr_scheduler_type=recipe["schedule"],
        warmup_steps=recipe["warmup"],
        max_grad_norm=recipe["clip_norm"] or 0.0,
        seed=job["seed"],
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )

    def batch_of(rows):
        padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-100)
        mask = padded != -100
        return {"input_ids": padded.masked_fill(~mask, 0), "attention_mask": mask.long(), "labels": padded}

    trainer = InOrder(model, arguments, train_dataset=examples, data_collator=batch_of)
    trainer.train()
    trainer.save_model(job["output"])
    tokenizer.save_pretrained(job["output"])
    trainer.state.save_to_json(str(Path(job["output"]) / "trainer_state.json"))


def _tokens(tokenizer, text: str) -> torch.Tensor:
    ids = tokenizer(text, truncation=True, max_length=MAX_TOKENS)["input_ids"]
    return torch.tensor([*ids, tokenizer.eos_token_id][:MAX_TOKENS])


if __name__ == "__main__":
    main()
