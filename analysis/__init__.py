"""The theory of merging for mixing: when and why a merged model stands in for a mixture-trained one."""
