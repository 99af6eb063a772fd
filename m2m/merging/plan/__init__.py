"""A streamed merge as pure data: a recipe resolved tensor by tensor, laid out, and numbered."""
