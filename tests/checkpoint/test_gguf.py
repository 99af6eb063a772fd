"""GGUF files: a tiny Llama written as llama.cpp does, and read back as a Hugging Face folder."""

import builtins

import pytest
import torch
from helpers.hugging_face_folders import write_llama

from m2m.checkpoint.gguf import convert_gguf, require_readers
from m2m.errors import ConfigError

transformers = pytest.importorskip("transformers", reason="needs the extra `huggingface`")
gguf = pytest.importorskip("gguf", reason="needs the extra `gguf`")

#: GGUF's names of a block's tensors.
BLOCK = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def write_gguf(folder, file):
    """Write a Llama's folder as a GGUF file, weights in float32."""
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    config, vocabulary = model.config, transformers.AutoTokenizer.from_pretrained(folder).get_vocab()
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("gpt2")
    tokens = sorted(vocabulary, key=vocabulary.get)
    writer.add_token_list(["th" if token == "Ā" else token for token in tokens])
    writer.add_token_merges(["t h"])
    writer.add_eos_token_id(256)
    writer.add_bos_token_id(256)
    names = {"model.embed_tokens": "token_embd", "model.norm": "output_norm"}
    for block in range(config.num_hidden_layers):
        names |= {f"model.layers.{block}.{ours}": f"blk.{block}.{theirs}" for ours, theirs in BLOCK.items()}
    for name, module in model.named_modules():
        if name in names:
            heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
            weight = in_pairs(module.weight.detach(), heads.get(name.rpartition(".")[2]))
            writer.add_tensor(f"{names[name]}.weight", weight.contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def in_pairs(weight, heads):
    """Order the rows of queries and keys as llama.cpp turns them: the two of a pair side by side."""
    if heads is None:
        return weight
    return weight.view(heads, 2, -1, weight.shape[1]).swapaxes(1, 2).reshape(weight.shape)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_folder_is_the_files_model_and_tokenizer(tmp_path, capfd):
    write_llama(tmp_path / "llama")
    write_gguf(tmp_path / "llama", tmp_path / "tiny.gguf")
    capfd.readouterr()
    convert_gguf(tmp_path / "tiny.gguf", tmp_path / "made")
    assert capfd.readouterr() == ("", "")
    tokens = torch.arange(12)[None] * 7
    with torch.no_grad():
        got, wanted = (
            transformers.AutoModelForCausalLM.from_pretrained(tmp_path / folder, dtype=torch.float32)(tokens)
            for folder in ("made", "llama")
        )
    assert torch.equal(got.logits, wanted.logits)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "made")
    assert tokenizer.decode(tokenizer("the café")["input_ids"]) == "the café"


def test_what_is_no_gguf_is_one_line(tmp_path):
    (tmp_path / "bad.gguf").write_bytes(b"GGUF but not really" * 9)
    with pytest.raises(ConfigError, match=r"bad\.gguf is not a model in GGUF that transformers knows"):
        convert_gguf(tmp_path / "bad.gguf", tmp_path / "made")
    assert not (tmp_path / "made").exists()


def test_a_missing_reader_is_named_with_its_extra(monkeypatch):
    monkeypatch.setattr("m2m.checkpoint.gguf.find_spec", lambda name: None if name == "gguf" else builtins)
    with pytest.raises(ConfigError, match=r"model \"x\" needs gguf: pip install 'm2m\[gguf\]'"):
        require_readers('model "x"')
