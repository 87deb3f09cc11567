"""Numbers are written in digits where a person would write them so, in each language."""

import pytest

from wheatear.transcript.formatting import TextFormat, TextFormatter
from wheatear.transcript.numbers import LANGUAGES
from wheatear.transcript.results import Final, Segment, Word

# A language, then lines of spoken text, with the written text if it differs.
TABLE = """
    en-US
    a hundred people
    about a hundred and twenty people -> about 120 people
    a thousand
    a million dollars
    half a million
    one hundred people -> 100 people
    two hundred -> 200
    nineteen eighty four -> 1984
    in nineteen eighty four -> in 1984
    twenty ten -> 2010
    twenty twenty -> 2020
    nineteen oh five
    two thousand and ten -> 2010
    one of them
    no one
    the one
    one two three -> 1 2 3
    twenty one -> 21
    one hundred and one -> 101
    the first
    the twenty first -> the 21st
    second
    one second
    ten seconds -> 10 seconds
    five five five one two one two -> 5 5 5 1 2 1 2
    five thousand three hundred -> 5300
    two point five -> 2.5
    a dozen
    three hundred thousand -> 300000
    two million people -> 2 million people
    a hundred thousand -> 100000
    twenty-one -> 21
    hundred
    hundreds of people
    thousand times
    a couple hundred
    five to ten -> 5 to 10
    ten to fifteen -> 10 to 15
    seven eleven
    zero
    oh five
    double seven -> double 7
    minus five degrees -> minus 5 degrees
    fourteen hundred -> 1400
    nineteen hundred -> 1900
    eleven hundred and fifty -> 1150
    a hundred and one -> 101
    one thousand -> 1000
    one million
    eighteen sixty five -> 1865
    sixteen -> 16
    twenty twenty four -> 2024
    one nine eight four -> 1 9 8 4
    several hundred people
    a few thousand
    every hundred years
    per hundred
    a third
    two thirds
    one half
    three quarters
    two and a half
    the eighties
    a billion
    ten million five hundred thousand -> 10500000
    thirty three and a third
    twenty five fifty
    five twenty
    at ten thirty
    one fifty
    a million and a half
    ten and a half miles
    in nineteen oh five
    it costs five fifty
    three, four hundred -> 3, 400
    a hundred and twenty, maybe -> 120, maybe
    one hundred million -> 100 million
    two thousand million -> 2000 million
    de-DE
    eine Million Menschen
    eine million Menschen
    ein hundert -> 100
    einhundert Menschen -> 100 Menschen
    hundert Menschen
    tausend Dank
    eine Milliarde
    zwei Millionen Menschen -> 2 Millionen Menschen
    neunzehnhundertvierundachtzig -> 1984
    zwanzig zehn
    zwanzig zwanzig
    ein Mann
    eins zwei drei -> 1 2 3
    einer von ihnen
    der erste
    am ersten Mai
    zweitausendzehn -> 2010
    ein Uhr
    zehn Uhr dreißig -> 10 Uhr 30
    hundert und eins -> 101
    drei Komma fünf -> 3,5
    ein paar hundert
    mehrere tausend
    eine halbe Million
    anderthalb Millionen
    ein Hundert -> 100
    die Acht -> die 8
    zwei Hunderttausend
    eine Hand voll
    ein Dutzend
    zwei Milliarden Euro -> 2 Milliarden Euro
    fr-FR
    les six qui sont venus
    six qui
    un
    une
    un homme
    cent personnes
    mille personnes
    un million de personnes
    deux millions -> 2 millions
    quatre vingt dix -> 90
    soixante et onze -> 71
    dix neuf cent quatre vingt quatre -> 1984
    dix-neuf cent quatre-vingt-quatre -> 1984
    mille neuf cent quatre vingt quatre -> 1984
    deux mille dix -> 2010
    vingt et un -> 21
    le premier
    la deuxième
    une seconde
    neuf
    un livre neuf
    l'un des deux
    l'un
    deux à trois -> deux à 3
    dix pour cent -> 10 pour cent
    quelques centaines
    une centaine
    une cent
    un deux trois -> 1 2 3
    les deux
    zéro six douze -> 06 12
    deux virgule cinq -> 2,5
    vingt vingt
    cinq ou six -> 5 ou 6
    six ou sept -> 6 ou 7
    trois qui
    les onze -> les 11
    un cent
    la une
    cent mille -> 100000
    zéro six douze trente quatre -> 06 12 34
    es-US
    un millón de personnes
    cien personas
    ciento veinte -> 120
    mil gracias
    mil personas
    dos mil diez -> 2010
    mil novecientos ochenta y cuatro -> 1984
    uno de ellos
    una
    un hombre
    uno dos tres -> 1 2 3
    veinte veinte
    diecinueve ochenta y cuatro
    treinta y uno -> 31
    el primero
    segundo
    dos millones -> 2 millones
    un mil
    ciento uno -> 101
    once -> 11
    medio millón
    unos cien
    dos mil millones -> 2000 millones
    it-IT
    un milione di persone
    cento persone
    mille grazie
    mille persone
    duemila -> 2000
    duemiladieci -> 2010
    millenovecentoottantaquattro -> 1984
    uno di loro
    una
    un uomo
    uno due tre -> 1 2 3
    venti venti
    ventuno -> 21
    il primo
    secondo
    sei
    tu sei
    sei qui
    sei bello
    lei è
    due milioni -> 2 milioni
    un miliardo
    cento mila -> 100000
    sei mila -> 6000
    sei e mezzo
    cinque sei sette -> 5 6 7
    nl-NL
    een miljoen mensen
    honderd mensen
    duizend dank
    een man
    één
    een twee drie -> 1 2 3
    negentienhonderdvierentachtig -> 1984
    negentien vierentachtig -> 1984
    twee duizend tien -> 2010
    tweeduizend -> 2000
    eenentwintig -> 21
    twintig twintig -> 2020
    de eerste
    een honderd
    twee miljoen -> 2 miljoen
    een miljard
    acht -> 8
    zeven -> 7
    half miljoen
    pt-BR
    um milhão de pessoas
    cem pessoas
    cento e vinte -> 120
    mil pessoas
    dois mil e dez -> 2010
    mil novecentos e oitenta e quatro -> 1984
    um deles
    uma
    um homem
    um dois três -> 1 2 3
    vinte vinte
    vinte e um -> 21
    o primeiro
    segundo
    dois milhões -> 2 milhões
    um mil
    sete e meia
    meia
    meio milhão
"""


def rows() -> list[tuple[str, str, str]]:
    found, language = [], ""
    for line in map(str.strip, TABLE.strip().splitlines()):
        if line[2:3] == "-" and len(line) == 5:
            language = line
        else:
            spoken, _, written = line.partition(" -> ")
            found.append((language, spoken, written or spoken))
    return found


def written(text: str, language: str) -> str:
    words = tuple(Word(t, n * 0.5, n * 0.5 + 0.4, 0.9) for n, t in enumerate(text.split()))
    segment = Segment(text, words, 0, 9, language, None)
    return (
        TextFormatter(TextFormat(numbers="written"))
        .final(Final(text, words, 0, 9, language, (segment,), ()))
        .text
    )


def test_each_language_has_a_table() -> None:
    assert {language[:2] for language, _, _ in rows()} == set(LANGUAGES)


@pytest.mark.parametrize(("language", "spoken", "expected"), rows())
def test_numbers_are_written_in_digits(language: str, spoken: str, expected: str) -> None:
    assert written(spoken, language) == expected


@pytest.mark.parametrize(("language", "spoken", "expected"), rows())
def test_capitals_and_marks_do_not_matter(language: str, spoken: str, expected: str) -> None:
    marked = f"{spoken[0].upper()}{spoken[1:]}."
    assert written(marked, language).lower() == f"{expected}.".lower()
