"""ESMFold's forward pass, written for large batches of short peptides.

``Engine(model, dtype)`` takes an `EsmForProteinFolding` of transformers and computes the same
structures as the model's ``infer``, with less memory and fewer operations:

- only the running weighted sum of the language model's layers is kept;
- projections that read the same tensor are one matrix product; a batch without padding uses no
  masks; the triangle attention is fused, so that its logits are never in memory;
- the structure module computes its pair bias once for each pass instead of once for each block,
  and computes its scalar and point attention in one matrix product; torsion angles and side chains
  are computed only at the end;
- the only outputs are the final positions, the pLDDT at Cα and the pTM of each sequence.

Names and equation numbers follow Jumper et al. (Nature 596, 2021, supplement) and Lin et al.
(Science 379, 2023). Matrix products and the pairs of the trunk are in ``dtype``; the residual
stream of the sequence, its normalisation and the whole structure module stay in float32.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.models.esm.openfold_utils.rigid_utils import Rigid, Rotation

__all__ = ["Engine", "Folded"]

MAX_ELEMENTS = 2**28
"""Number of elements above which a large intermediate tensor is computed in chunks."""

MAX_ROWS = 2**15
"""Largest number of rows in one call of the triangle attention; a CUDA grid has at most 65,535."""

_PTM_BINS, _PTM_RANGE = 64, 31.0
_RECYCLE_RANGE = (3.375, 21.375)
_LDDT_BINS = 50
_CA = 1


@dataclass(frozen=True)
class Folded:
    """Structures of a batch.

    Attributes
    ----------
    positions
        Atoms in Å, in AlphaFold's 14 slots, ``(batch, length, 14, 3)`` float32.
    plddt
        pLDDT at Cα, 0–100, ``(batch, length)`` float32.
    ptm
        pTM of each sequence, 0–1, ``(batch,)`` float32.
    """

    positions: Tensor
    plddt: Tensor
    ptm: Tensor


class Engine:
    """The forward pass of ESMFold on one device.

    Parameters
    ----------
    model
        The model, float32, on its device, in evaluation mode. Its language model is converted
        to ``dtype`` in place.
    dtype
        Type of the pair representation and of the matrix products of the language model and the
        trunk: float32 or bfloat16.
    """

    def __init__(self, model: nn.Module, dtype: torch.dtype):
        self.model, self.dtype = model, dtype
        for parameter in model.esm.parameters():  # buffers (rotary frequencies) stay as they are
            parameter.data = parameter.data.to(dtype)
        for layer in model.esm.encoder.layer:  # transformers' own GELU is five kernels
            layer.intermediate = nn.Sequential(layer.intermediate.dense, nn.GELU())
        with torch.inference_mode():
            self.blocks = [_Block(block, dtype) for block in model.trunk.blocks]
            self._structure = _StructureModule(model.trunk.structure_module)
        self._combine = model.esm_s_combine.detach().float().softmax(0)

    @torch.inference_mode()
    def __call__(self, tokens: Tensor, mask: Tensor, passes: int, *, padded: bool = True) -> Folded:
        """Fold a batch.

        Parameters
        ----------
        tokens
            Residue indices in AlphaFold's order, 0 at padding, ``(batch, length)`` int64.
        mask
            1 at residues, 0 at padding, ``(batch, length)`` int64.
        passes
            Number of passes through the trunk, including the first.
        padded
            Whether there is padding; if not, nothing is masked. The caller says so, because reading
            ``mask`` here would wait for the device.
        """
        model, trunk = self.model, self.model.trunk
        pads = mask if padded else None
        s_0 = model.esm_s_mlp(self._language(tokens, mask, padded))
        if model.config.esmfold_config.embed_aa:
            s_0 = s_0 + model.embedding(tokens)
        position = torch.arange(tokens.shape[1], device=tokens.device)[None]
        pair_positions = trunk.pairwise_positional_embedding(
            position.expand_as(tokens) if pads is not None else position, mask=pads
        )
        lengths = mask.sum(1)
        s, z = torch.zeros_like(s_0), None
        bins = torch.zeros(1, 1, 1, dtype=torch.int64, device=tokens.device)
        for step in range(passes):
            if z is None:  # the normalisation of zeros is its bias
                z = trunk.recycle_z_norm.bias.expand(*tokens.shape, tokens.shape[1], -1)
            else:
                z = trunk.recycle_z_norm(z.float())
            z = (z + (trunk.recycle_disto(bins) + pair_positions)).to(self.dtype)
            s = s_0 + trunk.recycle_s_norm(s)
            for block in self.blocks:
                s, z = block(s, z, pads)
            single, pair = trunk.trunk2sm_s(s), trunk.trunk2sm_z(z.float())
            states = self._structure.iterate(single, pair, pads)
            if step < passes - 1:
                bins = trunk.distogram(
                    self._structure.backbone(states, tokens), *_RECYCLE_RANGE, trunk.recycle_bins
                )
        return Folded(
            self._structure.atoms(states, tokens), self._plddt(states.s), self._ptm(z, lengths)
        )

    def _language(self, tokens: Tensor, mask: Tensor, padded: bool) -> Tensor:
        """Return the weighted sum of the language model's hidden states, ``(batch, length, c)``.

        ``tokens`` are residue indices in AlphaFold's order, and ``mask`` is 1 at residues, both
        ``(batch, length)``; ``padded`` tells whether there is padding.
        """
        model = self.model
        pad, eos = model.esm_dict_padding_idx, model.esm_dict_eos_idx
        ids = F.pad(model.af2_idx_to_esm_idx(tokens, mask), (1, 1), value=pad)
        ids[:, 0] = model.esm_dict_cls_idx
        ids[torch.arange(len(ids), device=ids.device), mask.sum(1) + 1] = eos
        total: list[Tensor] = []

        def collect(_module, args, kwargs):
            hidden = args[0] if args else kwargs["hidden_states"]
            weighted = hidden[:, 1:-1].float() * self._combine[len(total)]
            total.append(weighted if not total else total[-1].add_(weighted))

        layers = model.esm.encoder.layer
        hooks = [layer.register_forward_pre_hook(collect, with_kwargs=True) for layer in layers]
        try:
            # Given a two-dimensional mask, transformers waits for the device to read it.
            real = (ids != pad).long() if padded else None
            embedded = model.esm.embeddings(input_ids=ids, attention_mask=real)
            attend = None
            if real is not None:
                least = torch.finfo(embedded.dtype).min
                attend = embedded.new_zeros(ids.shape).masked_fill(real == 0, least)[:, None, None]
            last = model.esm(inputs_embeds=embedded, attention_mask=attend).last_hidden_state
        finally:
            for hook in hooks:
                hook.remove()
        assert len(total) == len(self._combine) - 1, "a layer was skipped"
        return total[-1] + last[:, 1:-1].float() * self._combine[-1]

    def _plddt(self, states: Tensor) -> Tensor:
        """Return the pLDDT at Cα, 0–100, ``(batch, length)``, from `_States.s`."""
        *head, last = self.model.lddt_head
        for layer in head:
            states = layer(states)
        at_ca = slice(_CA * _LDDT_BINS, (_CA + 1) * _LDDT_BINS)
        logits = F.linear(states, last.weight[at_ca], last.bias[at_ca])
        centres = (torch.arange(_LDDT_BINS, device=logits.device) + 0.5) / _LDDT_BINS
        return logits.softmax(-1) @ centres * 100

    def _ptm(self, z: Tensor, lengths: Tensor) -> Tensor:
        """Return the pTM of each sequence, 0–1, ``(batch,)`` (supplement, equations 36–39).

        ``z`` is the pair representation after the last pass; ``lengths`` are in residues.
        """
        step = _PTM_RANGE / (_PTM_BINS - 2)
        centres = (torch.arange(_PTM_BINS, device=z.device) + 0.5) * step
        d_0 = 1.24 * (lengths.clamp(min=19) - 15.0) ** (1 / 3) - 1.8
        score = 1 / (1 + (centres / d_0[:, None]) ** 2)
        real = torch.arange(z.shape[1], device=z.device) < lengths[:, None]
        aligned = []
        for rows in _row_chunks(z, _PTM_BINS):
            probabilities = self.model.ptm_head(rows.float()).softmax(-1)
            expected = torch.einsum("bijk,bk->bij", probabilities, score)
            aligned.append((expected * real[:, None]).sum(-1) / (lengths[:, None] + 1e-8))
        return torch.cat(aligned, dim=1).masked_fill(~real, 0).amax(1)


def _row_chunks(z: Tensor, width: int) -> tuple[Tensor, ...]:
    """Split a pair representation ``(batch, length, length, c)`` into chunks along its second axis.

    The chunks are so small that a tensor of the same shape with ``width`` channels has at most
    `MAX_ELEMENTS` elements. A chunk with one index of the second axis can be larger.
    """
    per_row = z.shape[0] * z.shape[2] * width
    return z.split(max(1, MAX_ELEMENTS // per_row), dim=1)


class _Norm:
    """Layer normalisation of tensors of type ``stream``, with results of type ``dtype``.

    ``norm`` is the layer of transformers that has the weights. If ``stream`` is None, the tensors
    have the type ``dtype`` too.
    """

    def __init__(self, norm: nn.Module, dtype: torch.dtype, stream: torch.dtype | None = None):
        stream = stream or dtype
        self.weight, self.bias = norm.weight.detach().to(stream), norm.bias.detach().to(stream)
        self.eps, self.dtype = norm.eps, dtype

    def __call__(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps).to(self.dtype)


class _Linear:
    """Several linear layers that read the same tensor, as one matrix product.

    The outputs of ``layers`` are concatenated along the last axis.
    """

    def __init__(self, *layers: nn.Module, dtype: torch.dtype):
        self.weight = torch.cat([layer.weight.detach() for layer in layers]).to(dtype)
        self.bias = None
        if any(layer.bias is not None for layer in layers):
            zero = [layer.weight.new_zeros(layer.weight.shape[0]) for layer in layers]
            biases = [z if y.bias is None else y.bias for y, z in zip(layers, zero, strict=True)]
            self.bias = torch.cat([bias.detach() for bias in biases]).to(dtype)

    def __call__(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)


class _Transition:
    """Layer normalisation and a two-layer perceptron; the caller adds the output to the input."""

    def __init__(self, module: nn.Module, dtype: torch.dtype, stream: torch.dtype | None = None):
        norm, up, _, down, _ = module.mlp
        self.norm = _Norm(norm, dtype, stream)
        self.up, self.down = _Linear(up, dtype=dtype), _Linear(down, dtype=dtype)

    def __call__(self, x: Tensor) -> Tensor:
        # The product and its ReLU as one kernel on a GPU.
        flat = self.norm(x).flatten(0, -2)
        hidden = torch._addmm_activation(self.up.bias, flat, self.up.weight.t())
        return self.down(hidden).view(x.shape)


class _Block:
    """One block of the folding trunk: updates the sequence representation, then the pairs."""

    def __init__(self, block: nn.Module, dtype: torch.dtype):
        attention, single = block.seq_attention, torch.float32
        self.heads = attention.num_heads
        self.bias_norm = _Norm(block.pair_to_sequence.layernorm, dtype)
        self.bias = _Linear(block.pair_to_sequence.linear, dtype=dtype)
        self.norm = _Norm(block.layernorm_1, dtype, single)
        self.project = _Linear(attention.proj, attention.g_proj, dtype=dtype)
        self.out = _Linear(attention.o_proj, dtype=dtype)
        self.sequence_transition = _Transition(block.mlp_seq, dtype, single)
        self.outer_product = _OuterProduct(block.sequence_to_pair, dtype)
        self.multiplications = (
            _TriangleMultiplication(block.tri_mul_out, dtype),
            _TriangleMultiplication(block.tri_mul_in, dtype),
        )
        self.attentions = (
            _TriangleAttention(block.tri_att_start, dtype),
            _TriangleAttention(block.tri_att_end, dtype),
        )
        self.pair_transition = _Transition(block.mlp_pair, dtype)

    def __call__(self, s: Tensor, z: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the updated sequence and pair representations; ``z`` is overwritten.

        ``s`` is ``(batch, length, c)`` float32, ``z`` is ``(batch, length, length, c)``. ``mask``
        ``(batch, length)`` is 1 at residues and 0 at pads. If the batch has no pads, it is None.
        """
        s = s + self._attend(s, z, mask)
        s = s + self.sequence_transition(s)
        self.outer_product.add(s, z)
        for multiply in self.multiplications:
            multiply.add(z, mask)
        for attend in self.attentions:
            attend.add(z, mask)
        for rows in _row_chunks(z, 4 * z.shape[-1]):
            rows += self.pair_transition(rows)
        return s, z

    def _attend(self, s: Tensor, z: Tensor, mask: Tensor | None) -> Tensor:
        """Return the update of ``s`` by gated self-attention, ``(batch, length, c)``.

        The bias of the attention is computed from the pairs ``z``.
        """
        batch, length, width = s.shape
        bias = _attention_bias(self.bias(self.bias_norm(z)), mask)
        projected = self.project(self.norm(s))
        qkv, gate = projected.split([3 * width, width], dim=-1)
        q, k, v = qkv.view(batch, length, self.heads, -1).chunk(3, dim=-1)
        return self.out(gate.sigmoid() * _attention(q, k, v, bias).flatten(2))


def _attention_bias(bias: Tensor, mask: Tensor | None) -> Tensor:
    """Convert a bias ``(batch, length, length, heads)`` to the layout that fused attention needs.

    Returns ``(batch, heads, length, width)``, where width is the length rounded up to a multiple
    of 8. Keys where ``mask`` ``(batch, length)`` is 0 get the bias −10⁹.
    """
    bias = bias.permute(0, 3, 1, 2)
    if mask is not None:
        bias = bias.masked_fill(mask[:, None, None] == 0, -1e9)
    return F.pad(bias, (0, -bias.shape[-1] % 8)).contiguous()


def _attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    """Return the attention ``(batch, length, heads, c)`` of ``q``, ``k`` and ``v`` of that shape.

    ``bias`` comes from `_attention_bias`.
    """
    q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
    bias = bias[..., : k.shape[2]]
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias).transpose(1, 2)


class _OuterProduct:
    """Update of the pair representation from products and differences of two projections.

    Each residue of the sequence representation is projected to q and to k. The update of the pair
    (i, j) is A(qⱼ ⊙ kᵢ) + B(qⱼ − kᵢ) + b. It is computed as one matrix product of [A, B, −B, b]
    with [q, q, 1, 1] ⊙ [k, 1, k, 1]. The bias of the projection produces the ones.
    """

    def __init__(self, module: nn.Module, dtype: torch.dtype):
        self.norm = _Norm(module.layernorm, dtype, torch.float32)
        weight, bias = module.proj.weight.detach(), module.proj.bias.detach()
        (q, k), (q_bias, k_bias) = weight.chunk(2), bias.chunk(2)
        none, one = torch.zeros_like(q), torch.ones_like(q_bias)
        # One 1 would be enough for b, but rows whose length is a multiple of 8 are faster.
        nones, ones = q.new_zeros(8, q.shape[1]), q.new_ones(8)
        self.weight = torch.cat([q, q, none, nones, k, none, k, nones]).to(dtype)
        self.bias = torch.cat([q_bias, q_bias, one, ones, k_bias, one, k_bias, ones]).to(dtype)
        of_product, of_difference = module.o_proj.weight.detach().chunk(2, dim=1)
        constant = F.pad(module.o_proj.bias.detach()[:, None], (0, 7))
        parts = [of_product, of_difference, -of_difference, constant]
        self.out = torch.cat(parts, dim=1).t().to(dtype)

    def add(self, s: Tensor, z: Tensor) -> None:
        """Add the update to the pairs ``z``, ``(batch, length, length, c)``, in place.

        ``s``, ``(batch, length, c)``, is the sequence representation.
        """
        q, k = F.linear(self.norm(s), self.weight, self.bias).chunk(2, dim=-1)
        product = q[:, None] * k[:, :, None]
        z.view(-1, z.shape[-1]).addmm_(product.flatten(0, 2), self.out)


class _TriangleMultiplication:
    """Triangle multiplication, with outgoing or incoming edges (algorithms 11 and 12).

    The projected edges have their channels on the first axis, because there is one matrix product
    for each channel, which sums over k, the third residue of the triangle.
    """

    def __init__(self, module: nn.Module, dtype: torch.dtype):
        self.outgoing = module._outgoing
        self.norm_in = _Norm(module.layer_norm_in, dtype)
        self.norm_out = _Norm(module.layer_norm_out, dtype)
        self.edges = _Linear(
            module.linear_a_p, module.linear_b_p, module.linear_a_g, module.linear_b_g, dtype=dtype
        )
        self.gate = _Linear(module.linear_g, dtype=dtype)
        self.out = _Linear(module.linear_z, dtype=dtype)

    def add(self, z: Tensor, mask: Tensor | None) -> None:
        """Add the update to the pairs ``z``, ``(batch, length, length, c)``, in place.

        ``mask`` ``(batch, length)`` is 1 at residues and 0 at pads; without pads, it is None.
        """
        x = self.norm_in(z)
        edges = torch.addmm(self.edges.bias[:, None], self.edges.weight, x.flatten(0, 2).t())
        a, b = F.glu(edges, dim=0).unflatten(1, z.shape[:3]).chunk(2)
        if mask is not None:  # excludes padding from the sums over k; sums at padding are not used
            a = a * (mask[:, None] if self.outgoing else mask[:, :, None]).to(a.dtype)
        product = a @ b.transpose(-1, -2) if self.outgoing else a.transpose(-1, -2) @ b
        y = self.out(self.norm_out(product.permute(1, 2, 3, 0).contiguous()))
        z.addcmul_(y, self.gate(x).sigmoid_())


class _TriangleAttention:
    """Triangle attention around the starting or the ending node (algorithms 13 and 14)."""

    def __init__(self, module: nn.Module, dtype: torch.dtype):
        self.starting, self.heads = module.starting, module.no_heads
        mha = module.mha
        self.hidden = mha.c_hidden
        self.norm = _Norm(module.layer_norm, dtype)
        layers = (mha.linear_q, mha.linear_k, mha.linear_v, mha.linear_g, module.linear)
        self.project = _Linear(*layers, dtype=dtype)
        unused = -self.heads % 8  # fused attention needs rows of a multiple of 8 numbers
        self.project.weight = F.pad(self.project.weight, (0, 0, 0, unused))
        self.project.bias = F.pad(self.project.bias, (0, unused))
        self.out = _Linear(mha.linear_o, dtype=dtype)

    def add(self, z: Tensor, mask: Tensor | None) -> None:
        """Add the update to the pairs ``z``, ``(batch, length, length, c)``, in place.

        ``mask`` ``(batch, length)`` is 1 at residues and 0 at pads; without pads, it is None.
        """
        z = z if self.starting else z.transpose(1, 2)
        batch, length = z.shape[:2]
        projected = self.project(self.norm(z.contiguous()))
        width = 4 * self.hidden * self.heads
        heads, bias = projected[..., :width], projected[..., width : width + self.heads]
        q, k, v, gate = heads.flatten(0, 1).unflatten(-1, (4, self.heads, -1)).unbind(-3)
        bias = _attention_bias(bias, mask)
        if 4 * batch <= length or length * bias.numel() > MAX_ELEMENTS:
            size, biases = length, bias.split(1)
        else:  # fewer kernel launches, but each row needs a copy of its peptide's bias
            bias = bias[:, None].expand(-1, length, -1, -1, -1).flatten(0, 1)
            size, biases = MAX_ROWS, bias.split(MAX_ROWS)
        rows = zip(q.split(size), k.split(size), v.split(size), biases, strict=True)
        parts = [_attention(*row) for row in rows]
        y = torch.cat(parts) if len(parts) > 1 else parts[0]
        z += self.out((gate.sigmoid() * y).flatten(-2)).view(z.shape)


@dataclass(frozen=True)
class _States:
    """Output of the structure module's blocks.

    Attributes
    ----------
    s
        Sequence representation after the last block, ``(batch, length, c)``.
    initial
        Sequence representation from the trunk after layer normalisation, ``(batch, length, c)``.
    rotation, translation
        Frames of the residues: rotation matrices ``(batch, length, 3, 3)``, and origins
        ``(batch, length, 3)`` in Å.
    """

    s: Tensor
    initial: Tensor
    rotation: Tensor
    translation: Tensor


class _StructureModule:
    """The structure module (algorithm 20).

    All atoms are computed from the output of the last block only.
    """

    def __init__(self, module: nn.Module):
        self.module, self.ipa, self.config = module, module.ipa, module.config
        module._init_residue_constants(torch.float32, module.linear_in.weight.device)
        ipa = self.ipa
        layers = (ipa.linear_q, ipa.linear_kv, ipa.linear_q_points, ipa.linear_kv_points)
        self.project = _Linear(*layers, dtype=torch.float32)
        self.widths = [layer.weight.shape[0] for layer in layers]
        points = F.softplus(ipa.head_weights.detach())
        self.point_weight = points * math.sqrt(1 / (3 * (ipa.num_qk_points * 9 / 2)))

    def iterate(self, single: Tensor, pair: Tensor, mask: Tensor | None) -> _States:
        """Run all blocks and return their output.

        The sequence and pair representations from the trunk are ``(batch, length, c)`` and
        ``(batch, length, length, c)``. ``mask`` ``(batch, length)`` is 1 at residues and 0 at pads;
        without pads, it is None.
        """
        module = self.module
        initial = module.layer_norm_s(single)
        pair = module.layer_norm_z(pair)
        bias = math.sqrt(1 / 3) * self.ipa.linear_b(pair).permute(0, 3, 1, 2)
        if mask is not None:
            bias = bias.masked_fill(mask[:, None, None] == 0, -self.config.inf)
        s = module.linear_in(initial)
        quaternion = torch.eye(1, 4, device=s.device).expand(*s.shape[:2], 4)
        rotation = torch.eye(3, device=s.device).expand(*s.shape[:2], 3, 3)
        translation = s.new_zeros(*s.shape[:2], 3)
        for _ in range(self.config.num_blocks):
            s = module.layer_norm_ipa(s + self._attend(s, pair, bias, rotation, translation))
            s = module.transition(s)
            turn, shift = module.bb_update(s).split(3, dim=-1)
            translation = translation + (rotation @ shift[..., None])[..., 0]
            quaternion = F.normalize(_turned(quaternion, turn), dim=-1)
            rotation = _matrix(quaternion)
        return _States(s, initial, rotation, translation * self.config.trans_scale_factor)

    def _attend(
        self, s: Tensor, pair: Tensor, bias: Tensor, rotation: Tensor, translation: Tensor
    ) -> Tensor:
        """Return the update of ``s``, ``(batch, length, c)``: invariant point attention (alg. 22).

        ``pair`` is ``(batch, length, length, c)``, and the attention's ``bias`` is
        ``(batch, heads, length, length)``. The frames of the residues are ``rotation``,
        ``(batch, length, 3, 3)``, and ``translation``, ``(batch, length, 3)``, in units of
        ``trans_scale_factor`` Å.
        """
        ipa = self.ipa
        heads, hidden, points = ipa.num_heads, ipa.hidden_dim, ipa.num_qk_points
        q, kv, q_points, kv_points = self.project(s).split(self.widths, dim=-1)
        q = q.unflatten(-1, (heads, hidden)).transpose(1, 2)
        k, v = kv.unflatten(-1, (heads, 2 * hidden)).transpose(1, 2).chunk(2, dim=-1)
        q_points = _globally(q_points, heads, rotation, translation)
        k_points, v_points = _globally(kv_points, heads, rotation, translation).split(
            [points, ipa.num_v_points], dim=-2
        )
        # −½ w |q − k|² = w q·k − ½ w |k|² + a term that is the same for all k.
        weight = self.point_weight[:, None, None]
        queries = torch.cat([q * math.sqrt(1 / (3 * hidden)), weight * q_points.flatten(3)], dim=-1)
        keys = torch.cat([k, k_points.flatten(3)], dim=-1)
        far = weight * k_points.flatten(3).square().sum(-1)[:, :, None] / 2
        weights = (queries @ keys.transpose(-1, -2) + (bias - far)).softmax(-1)

        values = weights @ torch.cat([v, v_points.flatten(3)], dim=-1)
        scalars, placed = values.split([hidden, 3 * ipa.num_v_points], dim=-1)
        placed = placed.unflatten(-1, (-1, 3)).transpose(1, 2).flatten(2, 3)
        local = (placed - translation[:, :, None]) @ rotation
        norms = (local.square().sum(-1) + self.config.epsilon).sqrt()
        pairs = weights.transpose(1, 2) @ pair
        features = [
            scalars.transpose(1, 2).flatten(2),
            local.transpose(-1, -2).flatten(2),
            norms,
            pairs.flatten(2),
        ]
        return ipa.linear_out(torch.cat(features, dim=-1))

    def backbone(self, states: _States, tokens: Tensor) -> Tensor:
        """Return N, Cα and C of each residue in Å, ``(batch, length, 3, 3)``.

        ``tokens`` are residue indices in AlphaFold's order, ``(batch, length)``.
        """
        local = self.module.lit_positions[tokens][..., :3, :]
        return local @ states.rotation.transpose(-1, -2) + states.translation[:, :, None]

    def atoms(self, states: _States, tokens: Tensor) -> Tensor:
        """Return all atoms in Å, in AlphaFold's 14 slots, ``(batch, length, 14, 3)``.

        ``tokens`` are residue indices in AlphaFold's order, ``(batch, length)``.
        """
        module = self.module
        frames = Rigid(Rotation(rot_mats=states.rotation, quats=None), states.translation)
        _, angles = module.angle_resnet(states.s, states.initial)
        frames = module.torsion_angles_to_frames(frames, angles, tokens)
        return module.frames_and_literature_positions_to_atom14_pos(frames, tokens)


def _globally(flat: Tensor, heads: int, rotation: Tensor, translation: Tensor) -> Tensor:
    """Convert points from the residues' frames to global coordinates.

    ``flat`` is ``(batch, length, 3 · heads · points)``, with x of all points first, then y, then z.
    Returns ``(batch, heads, length, points, 3)``.
    """
    local = flat.unflatten(-1, (3, -1))
    placed = (rotation @ local).transpose(-1, -2) + translation[:, :, None]
    return placed.unflatten(2, (heads, -1)).transpose(1, 2)


def _turned(q: Tensor, turn: Tensor) -> Tensor:
    """Return the quaternion products ``q`` · (1, ``turn``), ``(…, 4)``, not normalised.

    ``q`` ``(…, 4)`` are quaternions. ``turn`` ``(…, 3)`` are the imaginary parts of the quaternions
    by which they are multiplied, whose real part is 1.
    """
    w, vector = q[..., :1], q[..., 1:]
    real = -(vector * turn).sum(-1, keepdim=True)
    imaginary = w * turn + torch.linalg.cross(vector, turn)
    return q + torch.cat([real, imaginary], dim=-1)


def _matrix(q: Tensor) -> Tensor:
    """Return the rotation matrices ``(…, 3, 3)`` of unit quaternions ``(…, 4)``."""
    w, x, y, z = q.unbind(-1)
    rows = (
        w * w + x * x - y * y - z * z, 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), w * w - x * x + y * y - z * z, 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), w * w - x * x - y * y + z * z,
    )  # fmt: skip
    return torch.stack(rows, dim=-1).unflatten(-1, (3, 3))
