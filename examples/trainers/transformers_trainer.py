"""Train a causal language model with transformers' Trainer, as m2m asks for it.

    [train]
    command = ["{python}", "trainers/transformers_trainer.py"]

m2m says what to train on in the JSON file that M2M_JOB names. The examples lie in `data` in the order in
which they are to be drawn, `batch` a step: so the file is read once, in order, and shares need no care.
Of `prompt` and `completion`, and of `messages`, the answers alone are learnt, as m2m scores them.
"""

import json
import os
import re
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer, TrainingArguments


class InOrder(Trainer):
    """A Trainer that reads its data in the order of the file."""

    def _get_train_sampler(self, *args, **kwargs):
        return None


def main() -> None:
    """Train on the job that m2m describes."""
    job = json.loads(Path(os.environ["M2M_JOB"]).read_text(encoding="utf-8"))
    recipe = job["recipe"]
    if job["record"] not in SPANS:
        sys.exit(f"takes {', '.join(SPANS)}, and the records of {job['data']} are {job['record']}")
    tokenizer = AutoTokenizer.from_pretrained(job["base"], trust_remote_code=False)
    model = AutoModelForCausalLM.from_pretrained(job["base"], dtype=torch.float32, trust_remote_code=False)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not job["trainable"] or any(re.search(p, name) for p in job["trainable"]))
    with open(job["data"], encoding="utf-8") as lines:
        examples = [_example(tokenizer, json.loads(line), job) for line in lines]
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
        tokens = torch.nn.utils.rnn.pad_sequence([row[0] for row in rows], True, -1)
        labels = torch.nn.utils.rnn.pad_sequence([row[1] for row in rows], True, -100)
        there = tokens >= 0
        return {
            "input_ids": tokens.masked_fill(~there, 0),
            "attention_mask": there.long(),
            "labels": labels,
        }

    trainer = InOrder(model, arguments, train_dataset=examples, data_collator=batch_of)
    trainer.train()
    trainer.save_model(job["output"])
    tokenizer.save_pretrained(job["output"])
    trainer.state.save_to_json(str(Path(job["output"]) / "trainer_state.json"))


def _example(tokenizer, record, job) -> tuple[torch.Tensor, torch.Tensor]:
    """Turn a record into tokens, and labels that are -100 where nothing is learnt."""
    text, spans = SPANS[job["record"]](tokenizer, record)
    chat = job["record"] == "messages"
    found = tokenizer(text, add_special_tokens=not chat, return_offsets_mapping=True, verbose=False)
    tokens = found["input_ids"]
    # A token is of an answer where its last letter is.
    learnt = [any(start < stop <= end for start, end in spans) for _, stop in found["offset_mapping"]]
    if not chat and tokens[-1:] != [tokenizer.eos_token_id]:
        tokens, learnt = [*tokens, tokenizer.eos_token_id], [*learnt, True]
    length = (job["context"] or 511) + 1
    # The end is cut, or, where no answer would be left (`truncate = "start"`), the start.
    part = slice(length) if any(learnt[1:length]) else slice(-length, None)
    tokens, learnt = tokens[part], learnt[part]
    if not any(learnt[1:]):
        sys.exit(f"an example has no answer within {length} tokens: raise `context`; it begins {text[:60]!r}")
    labels = [token if yes else -100 for token, yes in zip(tokens, learnt, strict=True)]
    return torch.tensor(tokens), torch.tensor(labels)


def _text(tokenizer, record):
    return record["text"], [(0, len(record["text"]))]


def _answer(tokenizer, record):
    whole = record["prompt"] + record["completion"]
    return whole, [(len(record["prompt"]), len(whole))]


def _conversation(tokenizer, record):
    """Write a conversation, and say where in it the assistant's turns are, their end tokens included."""
    turns = record["messages"]

    def written(count, *, answer=False):
        return tokenizer.apply_chat_template(turns[:count], tokenize=False, add_generation_prompt=answer)

    if not tokenizer.chat_template:
        sys.exit("messages want a tokenizer with a chat template: take an …-Instruct model")
    text, spans = written(len(turns)), []
    for number, turn in enumerate(turns):
        if turn["role"] == "assistant":
            before, after = written(number, answer=True), written(number + 1)
            if not (text.startswith(before) and text.startswith(after)):
                sys.exit("the chat template writes a turn otherwise when more follow: use trl_sft.py")
            spans.append((len(before), len(after.rstrip())))
    return text, spans


#: The text of a record and which spans of it are learnt, by what `record` in job.json says it is.
SPANS = {"text": _text, "prompt_completion": _answer, "messages": _conversation}


if __name__ == "__main__":
    main()
