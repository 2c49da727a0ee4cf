"""The forecaster as a PyTorch module, for forecaster.pt (which holds a state_dict, no code).

    model = Forecaster()
    model.load_state_dict(torch.load("forecaster.pt", weights_only=True))
    y = model(x)      # x float32 [batch, time, 10] -> y [batch, 1]

torch.nn.LSTM has no relu, so the cell is written out. Names, shapes and gate order (i f g o) of the
parameters are those of torch.nn.LSTM.
"""

import torch
from torch import nn


class ReluLSTM(nn.Module):
    """One LSTM layer, batch first, with relu in place of both tanh; returns the last h."""

    def __init__(self, inputs, hidden):
        super().__init__()
        self.weight_ih_l0 = nn.Parameter(torch.zeros(4 * hidden, inputs))
        self.weight_hh_l0 = nn.Parameter(torch.zeros(4 * hidden, hidden))
        self.bias_ih_l0 = nn.Parameter(torch.zeros(4 * hidden))
        self.bias_hh_l0 = nn.Parameter(torch.zeros(4 * hidden))

    def forward(self, x):
        h = c = x.new_zeros(x.shape[0], self.weight_hh_l0.shape[1])
        for x_t in x.unbind(1):
            gates = nn.functional.linear(x_t, self.weight_ih_l0, self.bias_ih_l0)
            gates = gates + nn.functional.linear(h, self.weight_hh_l0, self.bias_hh_l0)
            i, f, g, o = gates.chunk(4, dim=1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.relu(g)
            h = torch.sigmoid(o) * torch.relu(c)
        return h


class Forecaster(nn.Module):
    """LSTM(50, relu) and Dense(1)."""

    def __init__(self, inputs=10, hidden=50):
        super().__init__()
        self.lstm = ReluLSTM(inputs, hidden)
        self.dense = nn.Linear(hidden, 1)

    def forward(self, x):
        return self.dense(self.lstm(x))
