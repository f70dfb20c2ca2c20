"""The demo genome, drawn from a hidden Markov model that is written down, so that its exact entropy is known.

`design` says what a genome is made of and lays it out as the states of `model`; `demo` draws the design of the demo;
`draw` samples records; `forward` gives their exact likelihood; `simulation` is the file that keeps all of it together.
"""

from primase.simulate.demo import demo_genome_design, demo_genome_model
from primase.simulate.design import Gene, GenomeDesign, RepeatFamily
from primase.simulate.draw import SimulatedRecord, simulate, write_fasta
from primase.simulate.forward import entropy_bits_per_base, log2_likelihood, surprisal_bits, window_bits
from primase.simulate.model import GenomeModel
from primase.simulate.simulation import Simulation, read_simulation, simulate_to_file, simulation_file

__all__ = [
    "Gene",
    "GenomeDesign",
    "GenomeModel",
    "RepeatFamily",
    "SimulatedRecord",
    "Simulation",
    "demo_genome_design",
    "demo_genome_model",
    "entropy_bits_per_base",
    "log2_likelihood",
    "read_simulation",
    "simulate",
    "simulate_to_file",
    "simulation_file",
    "surprisal_bits",
    "window_bits",
    "write_fasta",
]
