"""What the experts of a mixture do, as lines of text for the table of `primase evaluate`."""

import math

STRONGEST = 5

FEWEST_CHOICES = 100
"""An expert that was chosen less often says more about luck than about its taste."""


def routing_lines(routing) -> list[str]:
    """A `primase.results.Routing` as lines; none where it is None, for a dense model."""
    if routing is None:
        return []
    from primase.evaluation.routing import dead_router_warning

    lines = [
        f"experts: {routing.experts_per_token} of {routing.experts} a token, over {routing.tokens:,} tokens",
        f"{'layer':>5}   {'load entropy (at most ' + format(math.log2(routing.experts), '.2f') + ' bits)':<33}"
        f"{'dead experts':>12}   router's gradient, beside its experts'",
    ]
    for layer in routing.layers:
        ratio = layer.router_gradient / layer.expert_gradient if layer.expert_gradient else 0.0
        lines.append(f"{layer.layer:>5}   {layer.entropy_bits:<33.2f}{layer.dead_experts:>12}   {ratio:.1e}")
    lines += _strongest(routing)
    warning = dead_router_warning(routing)
    return [*lines, warning] if warning else lines


def _strongest(routing) -> list[str]:
    """The experts that the tokens of a class choose most beyond all tokens' choice."""
    found = [
        (bits, layer.layer, expert, name)
        for layer in routing.layers
        for name, enrichment in layer.enrichment.items()
        for expert, bits in enumerate(enrichment)
        if bits > 0 and layer.load[expert] * routing.tokens * routing.experts_per_token >= FEWEST_CHOICES
    ]
    strongest = sorted(found, key=lambda entry: entry[:3], reverse=True)[:STRONGEST]
    return ["strongest preferences (how much more often than by all tokens):" for _ in strongest[:1]] + [
        f"  {name}: expert {expert} of layer {layer}, {2**bits:.1f} times" for bits, layer, expert, name in strongest
    ]
