//! Shapes of published encoders, for measurements on random weights.

/// Names that [`shape`] knows.
pub const SHAPES: [&str; 4] =
    ["xlm-roberta-base", "xlm-roberta-large", "bert-base-multilingual-cased", "multilingual-minilm"];

/// The `config.json` of a published encoder's shape.
#[must_use]
pub fn shape(name: &str) -> Option<String> {
    let (kind, vocabulary, hidden, layers, heads, positions) = match name {
        "xlm-roberta-base" => ("xlm-roberta", 250_002, 768, 12, 12, 514),
        "xlm-roberta-large" => ("xlm-roberta", 250_002, 1024, 24, 16, 514),
        "bert-base-multilingual-cased" => ("bert", 119_547, 768, 12, 12, 512),
        // multilingual-e5-small and paraphrase-multilingual-MiniLM-L12-v2.
        "multilingual-minilm" => ("bert", 250_037, 384, 12, 12, 512),
        _ => return None,
    };
    let config = serde_json::json!({
        "model_type": kind, "vocab_size": vocabulary, "hidden_size": hidden, "num_hidden_layers": layers,
        "num_attention_heads": heads, "intermediate_size": 4 * hidden, "max_position_embeddings": positions,
        "type_vocab_size": if kind == "bert" { 2 } else { 1 }, "hidden_act": "gelu", "initializer_range": 0.02,
        "layer_norm_eps": if kind == "bert" { 1e-12 } else { 1e-5 },
        "pad_token_id": usize::from(kind == "xlm-roberta"),
    });
    Some(config.to_string())
}

#[cfg(test)]
mod tests {
    use super::super::ModelFiles;
    use super::*;

    #[test]
    fn shapes_have_the_published_numbers_of_parameters() {
        let count = |name| ModelFiles::fresh_parameter_count(&shape(name).expect(name)).expect(name);
        // Without the pooler that the published files carry.
        let expected = [277_453_056, 558_840_832, 177_262_848, 117_505_920];
        assert_eq!(SHAPES.map(count), expected);
        assert!(shape("gpt-2").is_none());
    }
}
