"""Recognition sites of common restriction enzymes, 5' to 3' in IUPAC codes; cut positions play no part here."""

_TABLE = """
AatII GACGTC    AccI GTMKAC      AflII CTTAAG     AgeI ACCGGT     AluI AGCT       ApaI GGGCCC     ApaLI GTGCAC
AscI GGCGCGCC   AvaI CYCGRG      AvrII CCTAGG     BamHI GGATCC    BbsI GAAGAC     BclI TGATCA     BglI GCCNNNNNGGC
BglII AGATCT    BsaI GGTCTC      BsmBI CGTCTC     BspEI TCCGGA    BspQI GCTCTTC   BsrGI TGTACA    BssHII GCGCGC
BstBI TTCGAA    BstEII GGTNACC   BstXI CCANNNNNNTGG  BtgZI GCGATG  ClaI ATCGAT   DpnI GATC       DraI TTTAAA
EagI CGGCCG     EarI CTCTTC      EcoRI GAATTC     EcoRV GATATC    Esp3I CGTCTC    FseI GGCCGGCC   HaeIII GGCC
HhaI GCGC       HincII GTYRAC    HindIII AAGCTT   HinfI GANTC     HpaI GTTAAC     HpaII CCGG      KasI GGCGCC
KpnI GGTACC     MboI GATC        MfeI CAATTG      MluI ACGCGT     MscI TGGCCA     MseI TTAA       MspI CCGG
NaeI GCCGGC     NarI GGCGCC      NcoI CCATGG      NdeI CATATG     NheI GCTAGC     NotI GCGGCCGC   NruI TCGCGA
NsiI ATGCAT     PacI TTAATTAA    PaqCI CACCTGC    PciI ACATGT     PmeI GTTTAAAC   PmlI CACGTG     PspOMI GGGCCC
PstI CTGCAG     PvuI CGATCG      PvuII CAGCTG     RsaI GTAC       SacI GAGCTC     SacII CCGCGG    SalI GTCGAC
SapI GCTCTTC    Sau3AI GATC      SbfI CCTGCAGG    ScaI AGTACT     SfiI GGCCNNNNNGGCC  SmaI CCCGGG  SnaBI TACGTA
SpeI ACTAGT     SphI GCATGC      SspI AATATT      StuI AGGCCT     StyI CCWWGG     SwaI ATTTAAAT   TaqI TCGA
XbaI TCTAGA     XcmI CCANNNNNNNNNTGG  XhoI CTCGAG  XmaI CCCGGG   ZraI GACGTC
"""

SITES = dict(zip(_TABLE.split()[::2], _TABLE.split()[1::2], strict=True))
